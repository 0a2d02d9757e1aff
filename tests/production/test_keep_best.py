import json

import numpy as np
import pytest

from lesionforge.cohort.case import Case
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.errors import CohortError, ConfigError, LeakError, OutputError
from lesionforge.masks.bank import MaskBank
from lesionforge.production import keep_best
from lesionforge.production.keep_best import KeepBest, synthesize_best
from lesionforge.scores.drawn_images.realism_classifier import RealismConfig
from lesionforge.scores.drawn_images.sharpness import cohort_sharpness
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from tests.helpers import tiny_cohort
from tests.synthesizers.folders import contents
from tests.synthesizers.models import tiny_training, untrained_pix2pix

TINY = RealismConfig(side=32, width=0.06, steps=1, batch_size=2)


def draw(cohort, out, *, n=8, targets=None, masks=None, condition="inpaint", blend="lesion", **keep):
    """Draw small lesions and keep the best half."""
    model = untrained_pix2pix(cohort, condition=condition, margin_mm=3.0)
    best = KeepBest(**{"share": 0.5, "classifier": TINY, **keep})
    source = MaskBank(masks or cohort)
    return synthesize_best(
        model, targets or cohort, source, keep=best, out=out, n=n, blend=blend, min_volume=20.0, device="cpu"
    )


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_sharpest_half_is_kept_as_it_was_drawn(spatial_dims, cohorts, tmp_path):
    result = draw(cohorts[spatial_dims], tmp_path / "out", by="sharpness")
    drawn, kept = read_cohort(tmp_path / "out" / "drawn"), read_cohort(tmp_path / "out")
    assert kept.cases == result.cohort.cases
    assert (len(drawn), len(kept)) == (8, 4)
    values = cohort_sharpness(drawn).set_index("case_id")["laplacian_variance"]
    assert {case.case_id for case in kept} == set(values.nlargest(4).index)
    for case in kept:
        files = [*case.images.values(), case.label]
        before = [*drawn[case.case_id].images.values(), drawn[case.case_id].label]
        assert [file.read_bytes() for file in files] == [file.read_bytes() for file in before]
        assert case.parents == drawn[case.case_id].parents


def test_the_score_stands_in_the_provenance(cohorts, tmp_path):
    kept = draw(cohorts[2], tmp_path / "out", by="sharpness").cohort
    for case in kept:
        facts = json.loads((tmp_path / "out" / "provenance" / f"{case.case_id}.json").read_text())
        assert facts["kept_by"] == case.extra["kept_by"] == "sharpness"
        assert float(facts["score"]) == float(case.extra["score"]) > 0
        assert facts["source_case"] == case.source_case


def test_all_whom_the_segmentor_knows_become_parents(cohorts, tmp_path):
    other = tiny_cohort(tmp_path / "other", spatial_dims=2, n_subjects=2)
    cases = [type(case)(**{**vars(case), "subject_id": f"other_{case.subject_id}"}) for case in other]
    config = SegmentationConfig(filters=(4, 8), res_units=0)
    task = SegmentationTask.fit(
        other.with_cases(cases), channels=("FLAIR",), config=config, training=tiny_training(), out=tmp_path / "task"
    )
    kept = draw(cohorts[2], tmp_path / "out", by="segmentability", segmentor=task).cohort
    assert all({"other_sub_00", "other_sub_01"} <= set(case.parents) for case in kept)
    with pytest.raises(LeakError):
        check_no_leak(kept, other.with_cases(cases))


def test_a_segmentor_that_finds_nothing_is_refused_and_the_drawings_stay(cohorts, tmp_path, monkeypatch):
    config = SegmentationConfig(filters=(4, 8), res_units=0)
    task = SegmentationTask.fit(
        cohorts[2], channels=("FLAIR",), config=config, training=tiny_training(), out=tmp_path / "task"
    )
    monkeypatch.setattr(SegmentationTask, "predict", lambda self, scan: np.zeros(scan.label.shape, np.int16))
    with pytest.raises(CohortError, match="finds none of the drawn lesions"):
        draw(cohorts[2], tmp_path / "out", by="segmentability", segmentor=task)
    assert len(list((tmp_path / "out" / "drawn" / "provenance").iterdir())) == 8
    assert not (tmp_path / "out" / "cases.csv").exists()


def test_realism_is_judged_by_real_lesions_and_their_subjects_become_parents(tmp_path):
    cohort = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=6)
    model_knows = cohort.of_subjects(cohort.subjects[:5])
    result = draw(model_knows, tmp_path / "out", real=cohort)
    assert all(set(case.parents) == set(cohort.subjects) for case in result.cohort)
    assert {path.name for path in (tmp_path / "out" / "realism").iterdir()} == {"half0", "half1"}
    info = json.loads((tmp_path / "out" / "realism" / "half0" / "model.json").read_text())
    assert info["config"]["look_at"] == "lesion"


def test_whom_the_realism_classifier_saw_in_drawn_images_become_parents(tmp_path):
    real = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=4)
    targets = tiny_cohort(tmp_path / "targets", spatial_dims=2, n_subjects=4, seed=1)
    renamed = [{**vars(case), "case_id": f"t_{case.case_id}", "subject_id": f"t_{case.subject_id}"} for case in targets]
    targets = targets.with_cases([Case(**facts) for facts in renamed])
    result = draw(real, tmp_path / "out", n=24, targets=targets, masks=real, real=real)
    assert all(set(case.parents) == {*real.subjects, *targets.subjects} for case in result.cohort)
    with pytest.raises(LeakError):
        check_no_leak(result.cohort.with_cases(result.cohort.cases[:1]), targets.with_cases(targets.cases[-1:]))


def test_of_wholly_drawn_images_the_head_is_judged(cohorts, tmp_path, monkeypatch):
    seen = {}

    def scores(drawn, keep, look_at, *arguments):
        seen["look_at"] = look_at
        return cohort_sharpness(drawn).set_index("case_id")["laplacian_variance"]

    monkeypatch.setattr(keep_best, "_scores", scores)
    draw(cohorts[2], tmp_path / "out", condition="label", blend="full", by="sharpness")
    assert seen == {"look_at": "head"}


def test_a_run_that_is_done_changes_nothing_and_a_stopped_one_goes_on(cohorts, tmp_path):
    first = draw(cohorts[2], tmp_path / "out", by="sharpness")
    before = contents(tmp_path / "out")
    case = first.cohort.cases[1]
    (tmp_path / "out" / "provenance" / f"{case.case_id}.json").unlink()
    case.label.unlink()
    (tmp_path / "out" / "dataset.json").unlink()
    assert draw(cohorts[2], tmp_path / "out", by="sharpness").cohort == first.cohort
    assert contents(tmp_path / "out") == before
    with pytest.raises(OutputError, match="holds another run's cases"):
        draw(cohorts[2], tmp_path / "out", by="sharpness", share=0.25)


def test_one_case_at_least_is_kept_and_of_none_none(cohorts, tmp_path):
    assert len(draw(cohorts[2], tmp_path / "few", n=2, by="sharpness", share=0.01).cohort) == 1
    big = tiny_cohort(tmp_path / "big", spatial_dims=2, n_subjects=1, shape=(200, 200))
    none = draw(cohorts[2], tmp_path / "none", n=2, by="sharpness", masks=big)
    assert len(none.cohort) in (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "`keep_best`: 0 is no share; give more than 0 and at most 1"),
        ({"share": 1.5}, "`keep_best`: 1.5 is no share"),
        ({"share": 0.5}, "`by=realism`: needs real cases with lesions"),
        ({"share": 0.5, "by": "segmentability"}, "`by=segmentability`: needs a segmentation network; name one with"),
    ],
)
def test_a_filter_that_cannot_work_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        KeepBest(**options)


def test_too_few_subjects_to_judge_by_are_named(cohorts, tmp_path):
    with pytest.raises(CohortError, match="has 3 subjects with lesions, too few"):
        draw(cohorts[2], tmp_path / "out", real=cohorts[2])


def test_scores_of_equal_value_are_kept_in_order(cohorts, tmp_path, monkeypatch):
    zero = lambda drawn, *rest: 0 * cohort_sharpness(drawn).set_index("case_id")["spectrum_mean"]  # noqa: E731
    monkeypatch.setattr(keep_best, "_scores", zero)
    kept = draw(cohorts[2], tmp_path / "out", by="sharpness").cohort
    assert [case.case_id[-1] for case in kept] == list("0123")
    assert np.unique([case.extra["score"] for case in kept]).tolist() == ["0"]
