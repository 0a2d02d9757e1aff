import html
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.figures.curves import LOSS
from lesionforge.benchmark.report.figures.drawn import _shown_side_by_side
from lesionforge.benchmark.report.figures.gallery import arm_log, gallery
from lesionforge.benchmark.report.figures.predicted import examples
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.files import write_json
from lesionforge.reading import read_json
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import untrained_pix2pix

DIMS = [2, 3]
PLAN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [3]},
    "task": {"spatial_dims": 2},
    "training": {"steps": 20},
    "seeds": [5],
    "synthesizers": {
        "brighter": {"method": "injection", "masks": "bank", "cases": 3, "min_volume": 20},
        "pasted": {"method": "copy_paste", "masks": "bank", "min_volume": 20},
    },
    "arms": {
        "classical": {},
        "offline": {"synthesizer": "brighter"},
        "on_the_fly": {"synthesizer": "pasted", "use": "on_the_fly"},
        "few": {"real": 1},
        "tuned": {"synthesizer": "brighter", "real": 1, "finetune": 0.5},
    },
    "baseline": "classical",
    "examples": 2,
}
STEPS = PLAN["training"]["steps"]
SYNTHETIC = {"placement_brighter.png", "synthesizers.png", "intensities.svg", "channel_fit.svg"}


def write_arms(arms):
    """Put logs, perfect predictions and random scores where training would have put them."""
    rows = []
    for arm in arms.plan.arms:
        folder = arms.repeat(3, 5).training(arm, STEPS).folder
        (folder / "predictions").mkdir(parents=True)
        (folder / "metrics.csv").write_text(f"epoch,step,{LOSS}\n0,9,2.0\n0,19,1.0\n")
        for case in arms.test:
            shutil.copy(case.label, folder / "predictions" / case.label.name)
            rows.append(
                {"arm": arm, "train_size": 3, "seed": 5, "case_id": case.case_id, "subject_id": case.subject_id}
            )
    results = pd.DataFrame(rows).assign(dice=np.random.default_rng(0).random(len(rows)))
    results.to_csv(arms.out / "results.csv", index=False)


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def finished(request, tmp_path_factory):
    """What a run leaves behind, with synthesizers that need no training."""
    folder = tmp_path_factory.mktemp("finished")
    cohort = tiny_cohort(folder / "cohort", spatial_dims=request.param, n_subjects=8, channels=("FLAIR", "T1"))
    arms = make_arms(Plan.model_validate(PLAN), cohort, {}, folder / "run")
    for name in arms.plan.synthesizers:
        fit_synthesizer(arms.repeat(3, 5), name)
    draw_offline(arms.repeat(3, 5), "brighter")
    write_arms(arms)
    return arms


@pytest.fixture
def copied(finished, tmp_path):
    return replace(finished, out=shutil.copytree(finished.out, tmp_path / "run"))


def report(arms):
    return ArmStudy(plan=arms.plan, arms=arms, out=arms.out).report()


def figures_of(arms):
    made = gallery(arms, steps=STEPS)
    assert made.problems == ()
    return {one.file: one.figure for one in made.figures}


def pictures(figure):
    """Return the image and the number of outlines of every panel that shows one."""
    panels = [panel for panel in figure.axes if panel.images]
    return [(panel.images[0].get_array().filled(), len(panel.collections)) for panel in panels]


def test_every_figure_and_note_is_in_the_report_and_every_figure_on_disk(copied):
    record = next((copied.repeat(3, 5).cohort_folder("brighter") / "provenance").iterdir())
    write_json(record, read_json(record) | {"changed_outside": 0.02})
    report(copied)
    page = html.unescape((copied.out / "report.html").read_text(encoding="utf-8"))
    made = gallery(copied, steps=STEPS).figures
    assert {one.file for one in made} == {"groups.svg", "learning_curves.svg", "augmentations.png", *SYNTHETIC}
    for one in made:
        assert (copied.out / "figures" / one.file).stat().st_size > 1000
        assert f"<figcaption>{one.caption}</figcaption>" in page
    assert page.count("<figure>") == len(list((copied.out / "figures").iterdir())) == len(made) + 3
    assert "could not be drawn" not in page
    channels = pd.read_csv(copied.out / "channels.csv")
    assert dict(zip(channels["synthesizer"], channels["drawn_subjects"], strict=True)) == {"brighter": 3, "pasted": 2}
    assert "<td>pasted</td><td>lesions</td><td>" in page
    assert "not measured</td>" not in page
    assert "brighter: 2.00% of the intensity range before blending" in page


def test_a_report_is_the_same_when_it_is_written_again_and_trains_nothing(copied):
    runs = copied.out / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    pages = []
    for _ in range(2):
        report(copied)
        pages.append((copied.out / "report.html").read_bytes())
    assert pages[0] == pages[1]
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_run_without_logs_models_and_cohorts_still_has_a_report(copied):
    for log in copied.out.rglob("metrics.csv"):
        log.unlink()
    shutil.rmtree(copied.repeat(3, 5).folder / "cohorts")
    shutil.rmtree(copied.repeat(3, 5).folder / "synthesizers")
    report(copied)
    assert {path.name for path in (copied.out / "figures").iterdir()} == {
        "differences.svg",
        "arms.svg",
        "examples.png",
        "groups.svg",
        "augmentations.png",
    }


def test_a_figure_that_cannot_be_drawn_is_named_in_the_report(copied):
    drawn = read_cohort(copied.repeat(3, 5).cohort_folder("brighter")).cases[0]
    drawn.images["FLAIR"].write_bytes(b"")
    log = copied.repeat(3, 5).training("few", STEPS).folder / "metrics.csv"
    log.write_text("")
    made = gallery(copied, steps=STEPS)
    assert {one.file for one in made.figures} == {"groups.svg", "synthesizers.png", "augmentations.png"}
    report(copied)
    page = html.unescape((copied.out / "report.html").read_text(encoding="utf-8"))
    (told,) = [line for line in page.splitlines() if "Figures that could not be drawn" in line]
    assert drawn.images["FLAIR"].name in told
    assert str(log) in told


def test_a_placement_shows_the_new_lesion_in_every_plane(finished):
    panels = pictures(figures_of(finished)["placement_brighter.png"])
    dims = load_scan(finished.test.cases[0], finished.channels).spatial_dims
    assert len(panels) == (3 if dims == 2 else 9)
    for (source, _), (drawn, none), (same, outlines) in zip(panels[::3], panels[1::3], panels[2::3], strict=True):
        assert (source != drawn).any()
        assert (source == drawn).mean() > 0.5
        assert np.array_equal(drawn, same)
        assert (none, outlines) == (0, 1)


def test_synthesizers_draw_the_same_scans_and_masks(finished):
    figure = figures_of(finished)["synthesizers.png"]
    panels = [panel for panel in figure.axes if panel.images]
    assert [panel.get_title() for panel in panels[:4]] == ["source scan", "mask", "brighter", "pasted"]
    assert len(panels) == 3 * 4
    for source, mask, *drawn in (panels[start : start + 4] for start in range(0, 12, 4)):
        lesion = ~mask.images[1].get_array().mask
        assert lesion.any()
        before = source.images[0].get_array()
        assert np.array_equal(mask.images[0].get_array(), before)
        changed = [panel.images[0].get_array() != before for panel in drawn]
        assert all(where[lesion].mean() > 0.5 for where in changed)
        assert (changed[0] != changed[1]).any() or (
            drawn[0].images[0].get_array() != drawn[1].images[0].get_array()
        ).any()


def test_the_augmentation_that_the_search_chose_is_shown(finished):
    chosen = replace(finished, choices={3: Choice(augment="affine", learning_rate=0.001, batch_size=2)})
    shown = {panel.get_title() for panel in figures_of(chosen)["augmentations.png"].axes}
    assert shown == {"as it is", "augment: affine", ""}


def test_augmentation_moves_a_training_case_with_its_lesion(finished):
    panels = pictures(figures_of(finished)["augmentations.png"])
    assert len(panels) == 1 + 7
    assert all(outlines == 1 for _, outlines in panels)
    assert sum(not np.array_equal(image, panels[0][0]) for image, _ in panels[1:]) > 3


def test_of_several_classes_each_is_shown_by_the_case_with_most_of_it(tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=2, n_subjects=8, labels=NESTED)
    synthesizers = {"label": {"method": "pix2pix", "options": {"condition": "label"}, "blend": "full"}}
    arms = {"classical": {}, "label": {"synthesizer": "label"}}
    plan = Plan.model_validate(PLAN | {"synthesizers": synthesizers, "arms": arms})
    arms = make_arms(plan, cohort, {}, tmp_path / "run")
    untrained_pix2pix(cohort, spatial_dims=2, condition="label").save(arms.repeat(3, 5).model_folder("label"))
    figure = figures_of(arms)["synthesizers.png"]
    notes = [panel.texts[0].get_text() for panel in figure.axes if panel.texts]
    labels = {case.case_id: load_scan(case, arms.channels).label for case in arms.train[3, 5]}
    largest = {name: max(labels, key=lambda case: (labels[case] == NESTED[name]).sum()) for name in ("oedema", "core")}
    shown: dict[str, list[str]] = {}
    for name, case_id in largest.items():
        shown.setdefault(case_id, []).append(name)
    assert notes == [f"{case_id}, {' and '.join(shown[case_id])}" for case_id in labels if case_id in shown]


def test_a_case_with_most_of_several_classes_is_shown_once(tmp_path):
    cases = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1, labels=NESTED)
    assert [(case.case_id, names) for case, names in _shown_side_by_side(cases)] == [("case_000", "oedema and core")]


def test_a_scan_without_a_place_for_the_mask_is_told(finished):
    huge = {name: one.model_copy(update={"min_volume": 1e6}) for name, one in finished.plan.synthesizers.items()}
    arms = replace(finished, plan=finished.plan.model_copy(update={"synthesizers": huge}))
    made = gallery(arms, steps=STEPS)
    assert "synthesizers.png" not in {one.file for one in made.figures}
    assert sorted(problem.where for problem in made.problems) == sorted(case.case_id for case in arms.train[3, 5])


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_synthesizer_of_label_maps_draws_the_scans_own_lesion(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims, n_subjects=8, anatomy=True)
    synthesizers = {"label": {"method": "pix2pix", "options": {"condition": "label"}, "blend": "full"}}
    arms = {"classical": {}, "label": {"synthesizer": "label"}}
    plan = Plan.model_validate(PLAN | {"synthesizers": synthesizers, "arms": arms})
    arms = make_arms(plan, cohort, {}, tmp_path / "run")
    untrained_pix2pix(cohort, spatial_dims=2, condition="label").save(arms.repeat(3, 5).model_folder("label"))
    (one,) = [one for one in gallery(arms, steps=STEPS).figures if one.file == "synthesizers.png"]
    assert "that of the scan's own lesion" in one.caption
    for source, mask, drawn in (one.figure.axes[start : start + 3] for start in range(0, 9, 3)):
        assert set(np.unique(mask.images[0].get_array())) == {0, 1, 2}
        assert (~mask.images[1].get_array().mask).any()
        assert (source.images[0].get_array() != drawn.images[0].get_array()).mean() > 0.9


def test_groups_are_by_the_number_of_real_subjects_in_the_colours_of_all_arms(finished):
    panels = figures_of(finished)["groups.svg"].axes
    assert [panel.get_title(loc="left") for panel in panels] == ["1 real subject", "3 real subjects"]
    assert [[label.get_text() for label in panel.get_yticklabels()] for panel in panels] == [
        ["few", "tuned"],
        ["classical"],
    ]
    results = pd.read_csv(finished.out / "results.csv").groupby("arm")["dice"].mean() * 100
    means = [line.get_xdata()[0] for line in panels[0].lines if line.get_marker() == "D"]
    assert means == pytest.approx([results["few"], results["tuned"]])
    colours = [line.get_markeredgecolor() for panel in panels for line in panel.lines if line.get_marker() == "D"]
    assert len(set(colours)) == 3


def test_examples_know_the_dice_of_the_whole_case(finished):
    found = examples(finished, steps=STEPS)
    assert len(found) == 2
    assert all(example["notes"] == dict.fromkeys(finished.plan.arms, "Dice 100.0") for example in found)


def test_the_steps_of_fine_tuning_follow_those_of_pretraining(tmp_path):
    (tmp_path / "pretraining").mkdir()
    (tmp_path / "metrics.csv").write_text(f"epoch,step,{LOSS}\n0,9,2.0\n")
    assert arm_log(tmp_path).index.tolist() == [9]
    (tmp_path / "pretraining" / "metrics.csv").write_text(f"epoch,step,{LOSS}\n0,9,4.0\n0,19,3.0\n")
    assert arm_log(tmp_path)[LOSS].to_dict() == {9: 4.0, 19: 3.0, 29: 2.0}


def test_dice_on_the_way_is_shown_where_it_was_logged(copied):
    assert "dice_curves.svg" not in figures_of(copied)
    for arm, best in (("classical", 0.6), ("few", 0.3)):
        log = copied.repeat(3, 5).training(arm, STEPS).folder / "metrics.csv"
        log.write_text(
            f"epoch,step,{LOSS},dice/training,dice/test\n0,9,2.0,,\n0,9,,0.1,0.2\n0,19,1.0,,\n0,19,,0.9,{best}\n"
        )
    figures = figures_of(copied)
    training, test = [panel for panel in figures["dice_curves.svg"].axes if panel.lines]
    assert [line.get_ydata().tolist() for line in training.lines] == [[0.1, 0.9]] * 2
    assert [line.get_ydata().tolist() for line in test.lines] == [[0.2, 0.6], [0.2, 0.3]]
    assert [line.get_xdata().tolist() for line in test.lines] == [[9, 19]] * 2
    assert "learning_curves.svg" in figures
