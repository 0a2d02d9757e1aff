import json
import os
import signal
from collections import Counter
from dataclasses import replace
from functools import partial
from multiprocessing import parent_process

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import (
    CohortError,
    ConfigError,
    LeakError,
    LesionforgeError,
    OutputError,
    PlacementError,
    WorkerError,
)
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.masks.own import OwnMasks
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production import draw_cases as draw_cases_module
from lesionforge.production import synthesize as synthesis
from lesionforge.production.draw_cases import DrawRequest, draw_case, drawn_case
from lesionforge.production.drawn_into import Targets
from tests.helpers import NESTED, tiny_cohort, write_array
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.models import fit_library, read_samples, untrained_pix2pix

DIMS = [2, 3]
SMALL = {"count": (1, 2), "diameter_mm": (8.0, 14.0)}

MODELS = {
    "inpaint": partial(untrained_pix2pix, condition="inpaint", margin_mm=4.0),
    "scan": partial(untrained_pix2pix, condition="scan", margin_mm=4.0),
    "label": partial(untrained_pix2pix, condition="label", margin_mm=4.0),
}


def drawn_mask(case, source, cohort):
    """Return the label of a drawn case, and the part of it that its source did not have."""
    new, old = (load_scan(c, cohort.channels[:1]).label for c in (case, source))
    return new, np.where(new != old, new, 0)


def assert_rule_1(result, cohort, margin_mm):
    """Outside mask and margin every stored value is the source's; dtype, affine and scaling stay."""
    for case in result.cohort:
        source = cohort[case.source_case]
        label, mask = drawn_mask(case, source, cohort)
        old = load_scan(source, cohort.channels)
        assert np.array_equal(label, np.where(mask > 0, mask, old.label))
        assert mask.any()
        hole, _ = hole_around(mask, margin_mm, old.spacing)
        for channel in cohort.channels:
            before, after = read_raw(source.images[channel]), read_raw(case.images[channel])
            assert after[0].dtype == before[0].dtype
            assert after[0].shape == before[0].shape
            assert after[2:] == before[2:]
            assert np.array_equal(after[1], before[1])
            assert np.array_equal(after[0][~hole], before[0][~hole])
            assert (after[0] != before[0])[mask > 0].mean() > 0.5


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", MODELS)
def test_nothing_changes_beyond_mask_and_margin(condition, spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    model = MODELS[condition](cohort)
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", n=5)
    assert not result.problems
    assert_rule_1(result, cohort, model.margin_mm())


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("edge", ["hard", "poisson"])
def test_pasting_changes_nothing_beyond_mask_and_margin(edge, spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    model = fit_library("copy_paste", cohort, tmp_path / "m", edge=edge, margin_mm=3.0)
    result = synthesize(model, cohort, EditedMasks(MaskBank(cohort)), tmp_path / "out")
    assert_rule_1(result, cohort, model.margin_mm())


@pytest.mark.parametrize(("dtype", "slope"), [(np.int16, 0.25), (np.uint8, 1.0), (np.float32, 1.0)])
def test_stored_values_stay_in_scaled_and_oblique_files(dtype, slope, tmp_path):
    """Resampled, thick slices of another orientation: what synthesis did not touch is still the original."""
    affine = np.diag([-1.2, 1.0, 2.5, 1.0])
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    affine = turn @ affine[:, [1, 0, 2, 3]]
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=2, affine=affine)
    for case in cohort:
        raw, file_affine, _, _ = read_raw(case.images["FLAIR"])
        image = nib.Nifti1Image(raw.astype(dtype), file_affine)
        image.header.set_slope_inter(slope, 0)
        nib.save(image, case.images["FLAIR"])
    preprocessing = Preprocessing(spatial_dims=3, channels=("FLAIR",), spacing=(1.5, 1.5, 2.0))
    model = untrained_pix2pix(cohort, preprocessing=preprocessing, margin_mm=4.0)
    result = synthesize(model, cohort, Ellipsoids(**SMALL), tmp_path / "out", n=3)
    assert not result.problems
    assert_rule_1(result, cohort, model.margin_mm())


@pytest.mark.parametrize("condition", ["inpaint", "scan"])
def test_a_2d_model_draws_into_the_slices_of_its_masks(condition, cohorts, tmp_path):
    cohort = cohorts[3]
    model = untrained_pix2pix(cohort, condition=condition, spatial_dims=2, margin_mm=4.0)
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out")
    assert not result.problems
    assert_rule_1(result, cohort, model.margin_mm())
    for case in result.cohort:
        source = cohort[case.source_case]
        new, old = (read_raw(c.images["FLAIR"])[0] for c in (case, source))
        assert np.array_equal((new != old).any((0, 1)), drawn_mask(case, source, cohort)[1].any((0, 1)))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_mask_keeps_its_classes_and_its_volume_on_the_models_grid(spatial_dims, rich_cohorts, tmp_path, monkeypatch):
    cohort = rich_cohorts[spatial_dims]
    coarse = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, spacing=(1.3,) * spatial_dims)
    model = untrained_pix2pix(cohort, preprocessing=coarse)
    shown = []
    draw = type(model).synthesize
    monkeypatch.setattr(
        type(model), "synthesize", lambda model, sample, mask, rng: shown.append(mask) or draw(model, sample, mask, rng)
    )
    result = synthesize(model, cohort, Ellipsoids(**SMALL, label=2), tmp_path / "out")
    for case, mask in zip(result.cohort, shown, strict=True):
        spacing = load_scan(case, cohort.channels).spacing
        placed = drawn_mask(case, cohort[case.source_case], cohort)[1]
        assert set(np.unique(mask)) == {0, 2}
        volume = np.count_nonzero(placed) * np.prod(spacing)
        assert np.count_nonzero(mask) * 1.3**spatial_dims == pytest.approx(volume, rel=0.3)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("condition", ["label", "scan"])
def test_a_full_image_takes_its_label_from_the_mask(condition, spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims].healthy()
    bank = MaskBank(cohorts[spatial_dims])
    model = MODELS[condition](cohorts[spatial_dims])
    full, blended = (
        synthesize(model, cohort, bank, tmp_path / blend, n=2, blend=blend).cohort for blend in ("full", "lesion")
    )
    for one, other in zip(full, blended, strict=True):
        assert one.label.read_bytes() == other.label.read_bytes()
        drawn, joined, source = (load_scan(c, ("FLAIR",)) for c in (one, other, cohort[one.source_case]))
        assert drawn.label.any()
        assert (drawn.image != source.image).mean() > 0.8
        hole, _ = hole_around(drawn.label, model.margin_mm(), drawn.spacing)
        edge = hole & (drawn.label == 0)
        whole, part = (np.abs(scan.image - source.image)[:, edge].mean() for scan in (drawn, joined))
        assert np.abs(joined.image - drawn.image)[:, drawn.label > 0].max() <= 1
        assert part < 0.7 * whole


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_scans_own_lesion_is_drawn_anew_once_for_each_that_has_one(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    result = synthesize(untrained_pix2pix(cohort, condition="inpaint"), cohort, OwnMasks(), tmp_path, n=None)
    assert sorted(case.source_case for case in result.cohort) == [case.case_id for case in cohort.with_lesions()]
    assert len(result.cohort) < len(cohort)
    for case in result.cohort:
        made, source = (load_scan(c, cohort.channels) for c in (case, cohort[case.source_case]))
        assert np.array_equal(made.label, source.label)
        assert (made.image != source.image).any(0)[source.label > 0].mean() > 0.5


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_model_that_is_shown_the_scan_does_not_draw_its_own_lesion(spatial_dims, cohorts, tmp_path):
    model = untrained_pix2pix(cohorts[spatial_dims], condition="scan")
    with pytest.raises(ConfigError, match="shown the scan, and so the lesion"):
        synthesize(model, cohorts[spatial_dims], OwnMasks(), tmp_path)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_full_is_refused_where_only_the_lesion_is_drawn(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    for model in (MODELS["inpaint"](cohort), fit_library("copy_paste", cohort, tmp_path / "m")):
        with pytest.raises(ConfigError, match="blend"):
            synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", blend="full")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "fitted_on", "drawn_into"),
    [("carvemix", 2, 3), ("carvemix", 3, 2), ("copy_paste", 3, 2), ("pix2pix", 3, 2)],
)
def test_lesions_of_other_dimensions_are_refused_before_anything_is_written(
    method, fitted_on, drawn_into, cohorts, tmp_path
):
    make = untrained_pix2pix if method == "pix2pix" else partial(fit_library, method, out=tmp_path / "m")
    model, cohort = make(cohorts[fitted_on]), cohorts[drawn_into]
    with pytest.raises(ConfigError, match=f"fit it with spatial_dims={drawn_into}"):
        synthesize(model, cohort, MaskBank(cohort), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_needs_masks_says_so(cohorts, tmp_path):
    with pytest.raises(ConfigError, match="masks"):
        synthesize(MODELS["inpaint"](cohorts[2]), cohorts[2], None, tmp_path / "out")


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_the_order_of_drawing_does_not_matter(spatial_dims, cohorts, tmp_path):
    """Each case is a function of the seed and its own id: backwards, with gaps, or alone, the same bytes."""
    cohort, n = cohorts[spatial_dims], 6
    model = MODELS["inpaint"](cohort)
    masks = EditedMasks(MaskBank(cohort))
    whole = synthesize(model, cohort, masks, tmp_path / "whole", n=n)
    request = DrawRequest(
        model=model,
        targets=Targets(model),
        masks=masks,
        cohort=cohort,
        out=tmp_path / "other",
        blend="lesion",
        seed=0,
        min_volume=20.0,
        file_ending=".png" if spatial_dims == 2 else ".nii.gz",
        n=n,
    )
    for index in (5, 2, 3, 0):
        draw_case(request, index)
        case = drawn_case(request, index)
        twin = whole.cohort.cases[index]
        assert case.case_id == twin.case_id
        for path, other in ((case.images["FLAIR"], twin.images["FLAIR"]), (case.label, twin.label)):
            assert path.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_the_number_of_workers_does_not_matter(cohorts, tmp_path):
    cohort = cohorts[3]
    model = untrained_pix2pix(cohort, spatial_dims=2)
    masks = EditedMasks(MaskBank(cohort))
    seen = {}
    for workers in (1, 2):
        out, engine, seen[workers] = tmp_path / str(workers), LocalEngine(workers), []
        result = synthesize(
            model, cohort, masks, out, n=6, engine=engine, progress=lambda *at, to=seen[workers]: to.append(at)
        )
        assert len(result.cohort) == 6
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert seen[1] == [(i, 6) for i in range(1, 7)]
    assert seen[2][-1] == (6, 6)
    assert seen[2] == sorted(set(seen[2]))


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(cohorts, tmp_path):
    """Its cases are drawn again; a case that always kills its worker is named at the end, and the others are drawn."""
    cohort = cohorts[2]
    model, n = untrained_pix2pix(cohort), 6
    synthesize(model, cohort, MaskBank(cohort), tmp_path / "whole", n=n, engine=LocalEngine(2))
    once = DeadlyMasks(cohort, tmp_path / "killed", times=1)
    synthesize(model, cohort, once, tmp_path / "once", n=n, engine=LocalEngine(2))
    assert pictures(tmp_path / "once") == pictures(tmp_path / "whole")
    always = DeadlyMasks(cohort, tmp_path / "killed", times=99)
    with pytest.raises(WorkerError, match=r"cases .*the same command"):
        synthesize(model, cohort, always, tmp_path / "always", n=n, engine=LocalEngine(2))
    assert len(list((tmp_path / "always" / "provenance").iterdir())) == n - 1


class DeadlyMasks(MaskBank):
    """Kills the process that draws the mask of the second scan, so many times."""

    def __init__(self, cohort, counter, times):
        super().__init__(cohort)
        self.victim, self.counter, self.times = cohort.cases[1].case_id, counter, times

    def draw(self, scan, rng):
        killed = len(self.counter.read_text()) if self.counter.is_file() else 0
        if scan.case.case_id == self.victim and killed < self.times and parent_process() is not None:
            self.counter.write_text("x" * (killed + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().draw(scan, rng)


def pictures(folder):
    return {name: content for name, content in contents(folder).items() if "Tr/" in name}


class ElsewhereError(LesionforgeError):
    """An error of another package."""


@pytest.mark.parametrize("kind", [CohortError, PlacementError, ElsewhereError, LesionforgeError])
def test_the_errors_of_a_job_arrive_whatever_their_class(kind, cohorts, tmp_path, monkeypatch):
    cohort = cohorts[2]

    def refuse(request, index):
        raise kind("here", "is wrong", "put it right")

    monkeypatch.setattr(draw_cases_module, "draw_case", refuse)
    result = synthesize(MODELS["inpaint"](cohort), cohort, MaskBank(cohort), tmp_path / "out", n=2)
    assert [str(problem) for problem in result.problems] == ["here: is wrong; put it right"] * 2
    assert {type(problem) for problem in result.problems} == {LesionforgeError if kind is ElsewhereError else kind}


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_every_case_is_drawn_in_one_job(n, monkeypatch, cohorts, tmp_path):
    """However many cases there are."""
    model, drawn = MODELS["inpaint"](cohorts[2]), []
    monkeypatch.setattr(draw_cases_module, "draw_case", lambda request, index: drawn.append(index))
    monkeypatch.setattr(synthesis, "drawn_case", lambda request, index: cohorts[2].cases[0])
    monkeypatch.setattr(synthesis, "_result", lambda request, outcomes, problems: len(outcomes))
    counts = []
    made = synthesize(
        model, cohorts[2], MaskBank(cohorts[2]), tmp_path / "out", n=n, progress=lambda *at: counts.append(at)
    )
    assert made == n
    assert drawn == list(range(n))
    assert counts[-1] == (n, n)
    assert len(counts) <= 128


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_the_seed_matters(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    results = [
        synthesize(MODELS["inpaint"](cohort), cohort, MaskBank(cohort), tmp_path / str(s), seed=s) for s in (0, 1)
    ]
    first, second = ([case.label.read_bytes() for case in result.cohort] for result in results)
    assert first != second
    assert {case.seed for case in results[1].cohort} == {1}


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_the_output_is_a_cohort(spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    result = synthesize(MODELS["label"](cohort), cohort, MaskBank(cohort), tmp_path / "out", n=5)
    back = read_cohort(tmp_path / "out")
    assert back.cases == result.cohort.cases
    assert (back.channels, back.labels) == (cohort.channels, NESTED)
    for case in back:
        scan = load_scan(case, back.channels)
        assert set(np.unique(scan.label)) <= {0, 1, 2}
        assert case.annotation is Annotation.LESION
        assert case.origin == "synthetic"
        assert case.derived
        assert case.synthesizer == "pix2pix"
        assert case.subject_id == cohort[case.source_case].subject_id
        assert case.mask_id in {c.case_id for c in cohort}
    assert json.loads((tmp_path / "out/dataset.json").read_text())["numTraining"] == 5


@pytest.mark.parametrize(("n", "uses"), [(2, {1}), (4, {1}), (6, {1, 2}), (11, {2, 3})])
def test_scans_are_used_evenly(n, uses, cohorts, tmp_path):
    cohort = cohorts[2]
    model = fit_library("copy_paste", cohort, tmp_path / "m")
    result = synthesize(model, cohort, Ellipsoids(**SMALL), tmp_path / "out", n=n)
    counts = Counter(case.source_case for case in result.cohort)
    assert sum(counts.values()) == n
    assert set(counts.values()) == uses
    assert len(counts) == min(n, len(cohort))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_all_whom_a_case_knows_are_its_parents(spatial_dims, tmp_path):
    """The subjects of the scan, of the mask, of the model and of the whole mask source; none may be tested on."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=8)
    targets, mask_cohort, fitted, rest = (cohort.of_subjects(cohort.subjects[i : i + 2]) for i in (0, 2, 4, 6))
    ancient = replace(targets.cases[0], parents=("ancestor",))
    targets = targets.with_cases([ancient, *targets.cases[1:]])
    result = synthesize(MODELS["inpaint"](fitted), targets, MaskBank(mask_cohort), tmp_path / "out", n=4)
    train = read_cohort(tmp_path / "out")
    for case in train:
        expected = targets[case.source_case].ancestry | set(mask_cohort.subjects) | set(fitted.subjects)
        assert set(case.parents) == expected
    assert result.cohort.cases == train.cases
    check_no_leak(train, rest)
    for part, way in ((targets, "scan"), (mask_cohort, "mask"), (fitted, "synthesizer")):
        for subject in part.subjects:
            with pytest.raises(LeakError, match=way):
                check_no_leak(train, rest.with_cases((*rest, *part.of_subjects([subject]))))
    with pytest.raises(LeakError, match="ancestor"):
        check_no_leak(train, rest.with_cases([replace(rest.cases[0], subject_id="ancestor")]))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_unknown_scans_are_no_targets(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=4, n_unknown=2)
    model = MODELS["inpaint"](cohort.annotated())
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", n=6)
    assert {case.source_case for case in result.cohort} == {case.case_id for case in cohort.annotated()}
    unknown = cohort.with_cases([case for case in cohort if case.annotation is Annotation.UNKNOWN])
    with pytest.raises(CohortError, match="annotated") as error:
        synthesize(model, unknown, MaskBank(cohort), tmp_path / "none")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "change",
    [
        *({"n": 5}, {"seed": 1}, {"min_volume": 30.0}, {"blend": "full"}),
        *({"masks": True}, {"model": True}, {"targets": True}),
    ],
)
def test_another_runs_folder_is_refused(change, cohorts, tmp_path):
    cohort = cohorts[2]
    model, bank = MODELS["scan"](cohort), MaskBank(cohort)
    synthesize(model, cohort, bank, tmp_path / "out")
    before = contents(tmp_path / "out")
    synthesize(model, cohort, bank, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    other = untrained_pix2pix(cohort, condition="scan", margin_mm=7.0) if change.pop("model", False) else model
    masks = Ellipsoids(**SMALL) if change.pop("masks", False) else bank
    targets = cohort.healthy() if change.pop("targets", False) else cohort
    with pytest.raises(OutputError):
        synthesize(other, targets, masks, tmp_path / "out", **change)
    assert contents(tmp_path / "out") == before


def test_a_folder_of_something_else_is_refused(cohorts, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError):
        synthesize(MODELS["inpaint"](cohorts[2]), cohorts[2], MaskBank(cohorts[2]), tmp_path / "out")
    assert list(contents(tmp_path / "out")) == ["thesis.txt"]
    with pytest.raises(OutputError):
        synthesize(MODELS["inpaint"](cohorts[2]), cohorts[2], MaskBank(cohorts[2]), tmp_path / "out" / "thesis.txt")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("resampled", [False, True])
def test_carvemix_needs_no_mask_and_changes_the_label_where_it_carved(resampled, spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    model = fit_library("carvemix", cohort, tmp_path / "m")
    if resampled:
        coarse = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, spacing=(1.6,) * spatial_dims)
        model = type(model)(model.info.model_copy(update={"preprocessing": coarse}), model.lesions)
    first, second = (synthesize(model, cohort, m, tmp_path / str(m is None)) for m in (None, MaskBank(cohort)))
    assert contents(tmp_path / "True") == contents(tmp_path / "False")
    assert first.cohort.cases[0].mask_id == second.cohort.cases[0].mask_id == ""
    for case in first.cohort:
        old, new = load_scan(cohort[case.source_case], cohort.channels), load_scan(case, cohort.channels)
        carved = (new.image != old.image).any(0)
        assert carved.any()
        relabelled = new.label != old.label
        assert relabelled.any()
        reach = hole_around(carved.astype(np.int16), 3.0, old.spacing)[0]
        assert not relabelled[~reach].any()
        assert set(case.parents) == set(cohort.subjects)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_classes_that_the_model_does_not_know_are_a_problem(spatial_dims, cohorts, rich_cohorts, tmp_path):
    """A label file may not hold a class that ``dataset.json`` does not name."""
    model = MODELS["inpaint"](cohorts[spatial_dims])
    foreign = MaskBank(rich_cohorts[spatial_dims])
    result = synthesize(model, cohorts[spatial_dims], foreign, tmp_path / "out")
    assert not len(result.cohort)
    assert all("class 2" in str(problem) and "\n" not in str(problem) for problem in result.problems)
    assert not list((tmp_path / "out").rglob("*_s0*"))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_what_the_mask_wants_is_what_the_label_says(spatial_dims, tmp_path):
    """The union is exact: existing lesions stay, the new one is the placed mask, voxel by voxel."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, labels=NESTED)
    model = MODELS["inpaint"](cohort)
    masks = Ellipsoids(**SMALL, label=2)
    placed = []

    def spy(scan, rng, **options):
        placed.append(Ellipsoids.sample(masks, scan, rng, **options))
        return placed[-1]

    recorded = Ellipsoids(**SMALL, label=2)
    recorded.sample = spy
    result = synthesize(model, cohort, recorded, tmp_path / "out")
    for case, mask in zip(result.cohort, placed, strict=True):
        old, new = (load_scan(c, ("FLAIR",)).label for c in (cohort[case.source_case], case))
        assert np.array_equal(new, np.where(mask.mask > 0, mask.mask, old))
        assert not (mask.mask > 0)[old > 0].any()
    assert result.redraws == sum(mask.redraws for mask in placed)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_no_new_lesion_is_smaller_than_asked(spatial_dims, cohorts, tmp_path):
    healthy, least = cohorts[spatial_dims].healthy(), {2: 120.0, 3: 900.0}[spatial_dims]
    masks = Ellipsoids(count=(1, 1), diameter_mm=(8.0, 14.0))
    model = fit_library("copy_paste", cohorts[spatial_dims], tmp_path / "m")
    result = synthesize(model, healthy, masks, tmp_path / "out", min_volume=least)
    assert len(result.cohort) == 4
    assert result.redraws > 0
    scans = [load_scan(case, ("FLAIR",)) for case in result.cohort]
    volumes = [np.count_nonzero(scan.label) * np.prod(scan.spacing) for scan in scans]
    assert min(volumes) >= least
    assert len(set(volumes)) > 1, "cases of one scan are not all alike"


def test_a_problem_that_was_known_before_is_listed_once(cohorts, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    cohort.cases[0].label.unlink()
    model, masks = MODELS["inpaint"](cohorts[2]), MaskBank(cohorts[2])
    (known,) = synthesize(model, cohort, masks, tmp_path / "one", n=2).problems
    other = CohortError("elsewhere", "is missing", "look for it")
    result = synthesize(model, cohort, masks, tmp_path / "two", n=2, problems=[known, other])
    assert [str(problem) for problem in result.problems] == [str(known), str(other)]


def test_a_scan_without_room_is_listed(cohorts, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    full = np.full((64, 64), 1.0)
    write_array(cohort.cases[0].label, full)
    result = synthesize(MODELS["inpaint"](cohorts[2]), cohort, MaskBank(cohorts[2]), tmp_path / "out")
    assert {case.source_case for case in result.cohort} == {"case_001"}
    assert [problem.where for problem in result.problems] == ["case_000"] * 2
    assert "case_000" in (tmp_path / "out/problems.csv").read_text()


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_healthy_scans_get_lesions(spatial_dims, cohorts, tmp_path):
    healthy = cohorts[spatial_dims].healthy()
    result = synthesize(
        MODELS["inpaint"](cohorts[spatial_dims]), healthy, MaskBank(cohorts[spatial_dims]), tmp_path / "o", n=2
    )
    for case in result.cohort:
        assert case.annotation is Annotation.LESION
        assert load_scan(case, ("FLAIR",)).label.any()
    assert all(not sample.label.any() for sample in read_samples(healthy))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_lesion_free_scans_alone_are_drawn_into_if_that_is_asked_for(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=5, n_healthy=2)
    model = fit_library("injection", cohort, tmp_path / "m")
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", n=4, lesion_free=True)
    free = {case.case_id for case in cohort.healthy()}
    assert {case.source_case for case in result.cohort} == free
    assert len(result.cohort) == 4
    with pytest.raises(CohortError, match="has no lesion-free scan to draw into; add some, or draw into all scans"):
        synthesize(model, cohort.with_lesions(), MaskBank(cohort), tmp_path / "none", lesion_free=True)
    with pytest.raises(ConfigError, match="`lesion_free`: lesion-free scans have no lesion of their own to draw"):
        synthesize(model, cohort, OwnMasks(), tmp_path / "own", lesion_free=True)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("damage", ["", "[]", '{"mask_id": 3}', "\x00"])
@pytest.mark.parametrize("file", ["synthesis.json", "provenance/case_000_s00000.json"])
def test_a_damaged_file_of_a_run_is_one_line_with_its_name(file, damage, cohorts, tmp_path):
    cohort, out = cohorts[2], tmp_path / "out"
    model = fit_library("copy_paste", cohort, tmp_path / "m")
    synthesize(model, cohort, EditedMasks(MaskBank(cohort)), out, n=2)
    (out / file).write_text(damage)
    if file == "synthesis.json":
        with pytest.raises((CohortError, OutputError), match=r"; name a new folder"):
            synthesize(model, cohort, EditedMasks(MaskBank(cohort)), out, n=2)
        return
    (problem,) = synthesize(model, cohort, EditedMasks(MaskBank(cohort)), out, n=2).problems
    assert str(problem).startswith(f"{out / file}: ")
    assert problem.remedy.startswith("delete it and repeat the command")
    (out / file).unlink()
    assert not synthesize(model, cohort, EditedMasks(MaskBank(cohort)), out, n=2).problems
