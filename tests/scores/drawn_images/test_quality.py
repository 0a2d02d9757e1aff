import numpy as np
import pandas as pd
import pytest

from lesionforge.cohort.scan import load_scan
from lesionforge.errors import ConfigError
from lesionforge.scores.drawn_images.quality import (
    CALLED_REAL,
    COUNTED,
    QUALITY_SCORES,
    RANKED,
    image_scores,
    recommend,
    rule,
    summarize_images,
)
from lesionforge.scores.drawn_images.realism import CONTROL, REAL
from lesionforge.scores.drawn_images.segmentability import mask_dice, segmentability
from lesionforge.scores.drawn_images.sharpness import SHARPNESS
from lesionforge.scores.predictions.overlap import dice
from lesionforge.scores.registry import find_score
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from tests.helpers import NESTED, tiny_cohort
from tests.scores.drawn import blur, drawn_from
from tests.synthesizers.models import tiny_training


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("real"), spatial_dims=2, n_subjects=5, n_healthy=1)


@pytest.fixture(scope="module")
def task(real, tmp_path_factory):
    """A segmentation network that finds lesions, in part."""
    config = SegmentationConfig(filters=(4, 8), res_units=0, augment="none", lesion_share=1.0)
    training = tiny_training(steps=60, batch_size=4, epoch_steps=60)
    out = tmp_path_factory.mktemp("task")
    return SegmentationTask.fit(real, channels=real.channels, config=config, training=training, out=out)


def test_the_fcn_score_of_copies_is_the_segmentors_own_dice(real, task, tmp_path):
    own = {}
    for case in real.with_lesions():
        scan = load_scan(case, real.channels)
        own[case.case_id] = dice(task.predict(scan) > 0, scan.label > 0)
    copies = segmentability(task, drawn_from(real.with_lesions(), tmp_path))
    assert copies["fcn_score"].tolist() == list(own.values())
    assert 0.2 < copies["fcn_score"].mean() < 1


def test_images_that_do_not_show_their_mask_have_a_low_fcn_score(real, task, tmp_path):
    nothing = drawn_from(real.with_lesions(), tmp_path, lambda image: np.minimum(image, 95))
    assert segmentability(task, nothing)["fcn_score"].mean() < 0.8 * segmentability(task, real)["fcn_score"].mean()


def test_lesions_of_the_wrong_class_lower_the_fcn_score_and_absent_classes_do_not_count():
    mask = np.zeros((8, 8), np.int16)
    mask[:4, :4] = 1
    assert mask_dice(mask, mask) == 1
    assert mask_dice(2 * mask, mask) == 0
    half = np.where(mask, [[1] * 2 + [2] * 6], 0)
    assert mask_dice(half, mask) == pytest.approx(2 / 3)
    assert mask_dice(mask, half) == pytest.approx(1 / 3)


def test_a_segmentor_of_other_classes_is_refused(task, tmp_path):
    other = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1, labels=NESTED, name="Other")
    with pytest.raises(ConfigError, match="Other: has other channels or lesion classes than the segmentation network"):
        segmentability(task, other)


def test_every_image_has_a_row_and_every_cohort_its_means(real, task, tmp_path):
    cases = real.with_lesions()
    cohorts = {"late": drawn_from(cases, tmp_path / "a"), "early": drawn_from(cases, tmp_path / "b", blur), REAL: cases}
    rows = [(name, case.case_id, case.subject_id, 0.3) for name, part in cohorts.items() for case in part]
    rows += [(CONTROL, case.case_id, case.subject_id, 0.6) for case in cases]
    realism = pd.DataFrame(rows, columns=["cohort", "case_id", "subject_id", "realism"])
    images = image_scores(cohorts, task, realism)
    assert images.groupby("cohort").size().to_dict() == dict.fromkeys((*cohorts, CONTROL), 4)
    summary = summarize_images(images)
    assert list(summary.index) == ["late", "early", REAL, CONTROL]
    assert list(summary) == ["images", "fcn_score", *SHARPNESS, "realism", *CALLED_REAL]
    assert summary.loc["late", "laplacian_variance"] == pytest.approx(summary.loc[REAL, "laplacian_variance"])
    assert summary.loc["late", ["called_real_50", "called_real_10"]].tolist() == [0, 1]
    assert summary.loc[CONTROL, "called_real_50"] == 1
    assert set(summary.columns[1:]) == set(QUALITY_SCORES)
    assert find_score("fcn_score").unit == "points"


def table(**columns):
    """Return a summary of three candidates, the real images and the control."""
    names = ["a", "b", "c", REAL, CONTROL]
    filled = {name: columns.get(name, [0.1, 0.1, 0.1, 1.0]) for name in (*RANKED, *COUNTED)}
    return pd.DataFrame({name: [*values, np.nan] for name, values in filled.items()}, index=names)


def chosen(summary):
    ranked = recommend(summary)
    assert list(ranked.index) == ["a", "b", "c"]
    (name,) = ranked.index[ranked["recommended"]]
    return name


def test_the_least_sum_of_ranks_is_recommended():
    summary = table(fcn_score=[0.5, 0.6, 0.7, 1], laplacian_variance=[1, 3, 2, 9], realism=[0.1, 0.2, 0.3, 1])
    assert recommend(summary)["rank_sum"].tolist() == [9, 5, 4]
    assert chosen(summary) == "c"


def test_what_is_sharper_than_real_is_no_better():
    assert chosen(table(laplacian_variance=[3, 9, 3, 9])) == "b"
    assert chosen(table(laplacian_variance=[3, 9, 3, 2])) == "a"


def test_of_equal_sums_realism_decides_then_the_fcn_score_and_then_the_order():
    assert chosen(table(fcn_score=[0.7, 0.6, 0.5, 1], realism=[0.1, 0.2, 0.3, 1])) == "c"
    none = [np.nan] * 4
    assert chosen(table(fcn_score=[0.5, 0.6, 0.4, 1], laplacian_variance=[3, 2, 1, 9], realism=none)) == "b"
    assert chosen(table()) == "a"


def test_without_realism_the_other_two_decide():
    none = [np.nan] * 4
    assert chosen(table(fcn_score=[0.5, 0.6, 0.5, 1], realism=none)) == "b"


def test_realism_may_count_by_the_published_threshold():
    """The mean probability prefers a, the share called real at 10 % prefers c."""
    summary = table(realism=[0.5, 0.4, 0.3, 1], called_real_10=[0.5, 0.6, 0.9, 1])
    assert chosen(summary) == "a"
    ranked = recommend(summary, "called_real_10")
    assert ranked.index[ranked["recommended"]].tolist() == ["c"]
    assert "10 %" in rule("called_real_10")
    assert "mean probability" in rule()


def test_every_way_to_count_realism_is_a_column_of_the_summary():
    assert {*COUNTED} - {"realism"} == {*CALLED_REAL}
