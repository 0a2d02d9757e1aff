import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError, ModelError, OutputError
from lesionforge.production import select
from lesionforge.production.candidate_grid import alike, same_score_grid
from lesionforge.production.select import SelectionConfig, select_candidates
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.scores.drawn_images.quality import rule
from lesionforge.scores.drawn_images.realism import CONTROL, REAL
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.folders import contents
from tests.synthesizers.models import tiny_training, untrained_pix2pix

COLUMNS = ["cohort", "case_id", "subject_id", "realism"]
SEGMENTOR = SegmentationConfig(filters=(4, 8), res_units=0)
CONFIG = SelectionConfig(
    segmentor=SEGMENTOR, segmentor_steps=2, realism={"side": 32, "width": 0.06, "steps": 2, "batch_size": 4}, shown=2
)


def test_drawings_that_one_score_finds_alike_are_paired_by_another(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=3)
    drawn = {
        name: cohort.with_cases([replace(case, source_case=case.case_id) for case in cohort])
        for name in ("a", "b", "c")
    }
    scores = {  # mask → candidate → Dice, sharpness
        "case_000": {"a": (0.50, 1.0), "b": (0.51, 1.2), "c": (0.90, 9.0)},
        "case_001": {"a": (0.70, 1.0), "b": (0.71, 3.0), "c": (0.72, 2.0)},
        "case_002": {"a": (0.10, 1.0), "b": (0.20, 9.0), "c": (0.30, 5.0)},
    }
    rows = [
        {"cohort": name, "case_id": case_id, "fcn_score": dice, "laplacian_variance": sharp, "realism": float("nan")}
        for case_id, of_case in scores.items()
        for name, (dice, sharp) in of_case.items()
    ]
    pairs = alike(pd.DataFrame(rows), drawn)
    assert [(one.source_case, one.name, other.name) for one, other in pairs] == [
        ("case_001", "a", "b"),
        ("case_000", "a", "b"),
    ]
    figure = same_score_grid(cohort, drawn, pd.DataFrame(rows), rows=5)
    assert len(figure.axes) == 2 * 4
    assert "Dice 0.70, sharp 1000.00" in figure.axes[1].get_title()
    assert same_score_grid(cohort, drawn, pd.DataFrame(rows[6:]), rows=5) is None


def run_folder(cohort, folder, *, names=("epoch_010", "epoch_002"), **options):
    """Write a model folder with candidates, each of which draws something else."""
    model = untrained_pix2pix(cohort, **options)
    model.save(folder)
    (folder / "candidates").mkdir()
    for number, name in enumerate(names):
        tensors = {key: tensor * (1 - 0.3 * number) for key, tensor in model.tensors().items()}
        save_file(tensors, folder / "candidates" / f"{name}.safetensors")
    return folder


def choose(run, cohort, out, **options):
    return select_candidates(run, cohort, out=out, device="cpu", **{"config": CONFIG, **options})


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "Dataset001_CT"
    return tiny_cohort(folder, spatial_dims=2, n_subjects=5, n_healthy=1, cases_per_subject=2, labels=NESTED)


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    return run_folder(real, tmp_path_factory.mktemp("run") / "model", condition="label")


@pytest.fixture(scope="module")
def selected(run, real, tmp_path_factory):
    """A selection among two candidates, and its folder."""
    out = tmp_path_factory.mktemp("selection") / "out"
    return choose(run, real, out), out


def test_every_candidate_draws_one_image_for_each_mask(selected, real):
    _, out = selected
    for name in ("epoch_002", "epoch_010"):
        drawn = read_cohort(out / "drawn" / name)
        assert [case.source_case for case in drawn] == [case.case_id for case in real.with_lesions()]
        for case in drawn:
            mask = load_scan(real[case.source_case], real.channels)
            made = load_scan(case, real.channels)
            assert np.array_equal(made.label, mask.label)
            assert (made.image != mask.image).mean() > 0.3


def test_the_table_has_candidates_real_images_and_the_control(selected):
    result, out = selected
    table = pd.read_csv(out / "candidates.csv", index_col="cohort")
    assert list(table.index) == ["epoch_002", "epoch_010", REAL, CONTROL]
    assert (table["images"] == 8).all()
    assert table.loc[[REAL, CONTROL], ["rank_sum", "recommended"]].isna().all(axis=None)
    assert table["recommended"].eq(True).sum() == 1
    best = table["rank_sum"].idxmin()
    assert table.loc[result.recommended, "rank_sum"] == table.loc[best, "rank_sum"]
    images = pd.read_csv(out / "images.csv")
    assert images.groupby("cohort")["fcn_score"].count().to_dict() == {
        "epoch_002": 8,
        "epoch_010": 8,
        REAL: 8,
        CONTROL: 0,
    }


def test_the_rule_is_written_beside_the_choice_with_all_whom_it_knows(selected, real):
    result, out = selected
    facts = json.loads((out / "recommended.json").read_text())
    assert facts == {
        "recommended": result.recommended,
        "rule": rule(),
        "notes": list(result.notes),
        "subjects": sorted(real.subjects),
    }
    assert (out / "candidates.png").is_file()
    assert not result.problems


def test_by_default_the_segmentor_is_trained_on_the_real_cases_at_hand(selected, real):
    result, out = selected
    assert SegmentationTask.load(out / "segmentor").info.training_subjects == real.with_lesions().subjects
    (note,) = result.notes
    own = result.summary.loc[REAL, "fcn_score"]
    assert note.startswith(f"the network's own Dice on real images is {own:.2f}, so the FCN score says little")


def test_a_selection_that_is_done_is_not_done_again(selected, run, real, tmp_path, monkeypatch):
    result, done = selected
    out = shutil.copytree(done, tmp_path / "out")
    (out / "candidates.csv").unlink()
    for name in (
        "lesionforge.training.fitting.fit",
        "lesionforge.scores.drawn_images.realism_classifier.fit",
    ):
        monkeypatch.setattr(name, lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr("lesionforge.production.draw_cases._draw", lambda *a: pytest.fail("drawn again"))
    assert choose(run, real, out).recommended == result.recommended
    assert contents(out) == contents(done)


def test_a_folder_of_another_selection_is_refused(selected, run, real):
    with pytest.raises(OutputError, match="holds another run's cases"):
        choose(run, real, selected[1], seed=1)


@pytest.mark.slow
def test_what_the_choice_knows_beyond_the_generators_subjects_is_said(run, real, tmp_path, monkeypatch):
    wide = tiny_cohort(tmp_path / "wide", spatial_dims=2, n_subjects=7, labels=NESTED)
    segmentor = SegmentationTask.fit(
        wide, channels=wide.channels, config=SEGMENTOR, training=tiny_training(), out=tmp_path / "segmentor"
    )
    few = real.of_subjects(real.subjects[:2])
    result = choose(run, few, tmp_path / "out", segmentor=segmentor)
    assert not (tmp_path / "out" / "segmentor").exists()
    assert result.notes[0].startswith("leak: the segmentation network was trained on more subjects")
    assert "(2 more)" in result.notes[0]
    assert result.notes[-1] == "realism was not judged: that takes 4 subjects, here are 2"
    assert result.summary["realism"].isna().all()
    monkeypatch.setattr(
        select,
        "judge_realism",
        lambda *arguments, **options: pd.DataFrame(columns=["cohort", "case_id", "subject_id", "realism"]),
    )
    small = run_folder(few, tmp_path / "small", condition="label")
    monkeypatch.setattr(select, "LEAST_REAL_DICE", 0.0)
    note, _ = choose(small, real, tmp_path / "other").notes
    assert note == "2 subjects that the generator was not trained on took part: do not test on them"


def test_where_only_the_lesion_is_drawn_the_classifier_looks_at_it(real, tmp_path, monkeypatch):
    run = run_folder(real, tmp_path / "model", condition="inpaint", names=("epoch_010",))
    seen = {}

    def judge(*arguments, config, **options):
        seen["look_at"] = config.look_at

    monkeypatch.setattr(select, "judge_realism", judge)
    choose(run, real, tmp_path / "out")
    assert seen == {"look_at": "lesion"}


def test_a_model_that_would_see_the_lesion_is_refused(real, tmp_path):
    run = run_folder(real, tmp_path / "model", condition="scan")
    with pytest.raises(ConfigError, match="is shown the scan, and so the lesion that it is to draw"):
        choose(run, real, tmp_path / "out")


def test_a_run_without_candidates_is_refused(real, tmp_path):
    untrained_pix2pix(real).save(tmp_path / "model")
    with pytest.raises(ModelError, match="model: has no candidates to choose from; train it with"):
        choose(tmp_path / "model", real, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_candidate_is_named(run, tmp_path):
    broken = shutil.copytree(run, tmp_path / "model")
    file = broken / "candidates" / "epoch_010.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"epoch_010.safetensors: cannot be read"):
        load_synthesizer(broken, candidate="epoch_010")


def test_a_case_that_cannot_be_drawn_is_left_out_for_all(run, real, tmp_path, monkeypatch):
    bad = real.with_lesions().cases[0]
    whole = synthesize_cohort

    def one_fails(model, cohort, *arguments, **options):
        made = whole(model, cohort, *arguments, **options)
        lost = [case for case in made.cohort if case.source_case != bad.case_id]
        problem = CohortError(bad.case_id, "is broken", "mend it")
        return replace(made, cohort=made.cohort.with_cases(lost), problems=(problem,))

    monkeypatch.setattr(select, "synthesize_cohort", one_fails)
    monkeypatch.setattr(select, "judge_realism", lambda *arguments, **options: None)
    result = choose(run, real, tmp_path / "out")
    assert [str(problem) for problem in result.problems] == [f"{bad.case_id}: is broken; mend it"]
    assert (result.summary["images"] == 7).all()
    assert bad.case_id in (tmp_path / "out" / "problems.csv").read_text()
