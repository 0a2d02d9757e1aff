"""What a recommendation follows from: cohorts that are alike, and what was shown on them."""

import pytest
from pydantic import ValidationError

from lesionforge.benchmark.plan_file import PRESETS
from lesionforge.errors import ConfigError
from lesionforge.evidence.comparisons import FACTOR, Comparison, Measured, measured
from lesionforge.evidence.facts import Facts
from lesionforge.evidence.recommend import recommend
from lesionforge.evidence.tables import comparison_table
from lesionforge.reading import read_yaml

FACTS = Facts(subjects=8, diameter_mm=30.0, contrast=0.5, channel="FLAIR")


def arm(gain=3.0, low=1.0, high=5.0, p=0.01, **options) -> Measured:
    return Measured(gain=gain, low=low, high=high, p=p, **{"use": "offline", "share": 0.5, "steps": 4000} | options)


def comparison(**changes) -> Comparison:
    facts = {"subjects": 8, "diameter_mm": 30.0, "contrast": 0.5}
    size = {"seeds": 3, "test_subjects": 20, "baseline": 60.0, "undertrained": False, "arms": {"inpaint": arm()}}
    words = {"data": "gliomas", "simulated": False, "preset": "first", "scale": "cpu", "score": "Dice"}
    return Comparison(**words | facts | size | changes)


def test_what_was_shown_on_a_like_cohort_is_recommended_with_its_interval():
    advice = recommend(FACTS, [comparison()])
    assert advice.arm == "inpaint"
    assert "+3.0 [+1.0, +5.0] points of Dice" in advice.sentences[0]
    assert "50% of the batches, 4000 steps" in advice.sentences[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": {"inpaint": arm(low=-0.1)}},
        {"arms": {"inpaint": arm(p=0.06)}},
        {"undertrained": True},
        {"found_nothing": 1},
    ],
)
def test_what_was_not_shown_is_not_recommended(changes):
    advice = recommend(FACTS, [comparison(**changes)])
    assert advice.arm is None
    assert advice.sentences[0].startswith("Do not bother")
    assert len(advice.alike) == 1


@pytest.mark.parametrize("unlike", [{"subjects": 30}, {"subjects": 2}, {"diameter_mm": 8.0}, {"contrast": -0.5}])
def test_a_cohort_unlike_all_has_no_advice_but_to_measure(unlike):
    advice = recommend(FACTS, [comparison(**unlike)])
    assert advice.arm is None
    assert advice.alike == ()
    assert advice.sentences[0].startswith("Nothing was measured on a cohort like this one")
    assert advice.preset == "first"


def test_the_arm_with_the_greatest_lower_end_is_recommended():
    arms = {"carvemix": arm(gain=9, low=0.5, high=20), "pix2pix": arm(gain=4, low=2, high=6)}
    assert recommend(FACTS, [comparison(arms=arms), comparison()]).arm == "pix2pix"


def test_the_most_alike_comes_first():
    near, far = comparison(subjects=9, data="near"), comparison(subjects=20, diameter_mm=60.0, data="far")
    assert [of.data for of in recommend(FACTS, [far, near]).alike] == ["near", "far"]


def test_cohorts_are_alike_up_to_the_factor():
    assert not comparison(diameter_mm=30.0 * FACTOR).unlike(FACTS)
    assert comparison(diameter_mm=30.0 * FACTOR * 1.01).unlike(FACTS) == ["the size of the lesions"]


def test_few_subjects_are_told_what_may_rescue_a_training():
    few = Facts(subjects=3, diameter_mm=30.0, contrast=0.5, channel="FLAIR")
    assert any("finds nothing" in sentence for sentence in recommend(few, [comparison(undertrained=True)]).sentences)
    assert not any("finds nothing" in sentence for sentence in recommend(FACTS, [comparison()]).sentences)


def test_an_interval_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="low"):
        arm(low=4.0)


def test_the_measured_comparisons_name_presets_and_are_in_the_table():
    table = comparison_table(measured())
    for of in measured():
        assert of.scale in read_yaml(PRESETS[of.preset], fault=ConfigError)["scales"]
        assert of.told in table
        assert all(str(gain) in table for gain in of.arms.values())


def test_a_row_says_what_would_have_been_seen_and_which_share_of_the_gap_was_closed():
    known, unknown = arm(detectable=7.6, closes=(-5.0, None, 51.2)), arm()
    first, second = comparison_table([comparison(arms={"a": known, "b": unknown})]).splitlines()[2:]
    assert first.endswith("| 8 | −5 [unknown, 51] |")
    assert second.endswith("| – | – |")
