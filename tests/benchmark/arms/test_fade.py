"""Arms whose synthetic share falls to 0 during the training, and drawings that redraw a scan's own lesion."""

import numpy as np
import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer, train
from lesionforge.benchmark.arms.ingredients import lengths
from lesionforge.benchmark.arms.mask_sources import mask_source
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.estimate.work import cases_drawn
from lesionforge.benchmark.report.method_notes import describe_arm
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import ConfigError
from lesionforge.masks.own import OwnOrOther
from lesionforge.training.model_folder import read_info
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
FADE = [0.5, 0.8]


def plan(spatial_dims=2, *, arm=None, synthesizer=None, **changes):
    return tiny_plan(
        spatial_dims,
        arms={"offline": arm or {"fade": FADE}},
        synthesizer={"cases": 12, **(synthesizer or {})},
        **{"training": {"steps": 1, "batch_size": 20, "device": "cpu", "preview_minutes": None}, **changes},
    )


@pytest.fixture(scope="module")
def repeats(tmp_path_factory):
    """A training set with lesion-free scans and offline cases, half of them redrawn in place, by dimensions."""
    made = {}
    for dims in (2, 3):
        folder = tmp_path_factory.mktemp(f"own_share{dims}")
        cohort = tiny_cohort(folder / "c", spatial_dims=dims, n_subjects=8, n_healthy=4)
        repeat = make_arms(plan(dims, synthesizer={"own_share": 0.5}), cohort, {}, folder / "out").repeat(1.0, 0)
        fit_synthesizer(repeat, "drawn")
        draw_offline(repeat, "drawn")
        made[dims] = repeat
    return made


def test_an_arm_fades_offline_and_on_the_fly(repeats):
    repeat = repeats[2]
    train(repeat.training("offline", 1))
    on_the_fly = plan(arm={"fade": FADE, "use": "on_the_fly"})
    other = make_arms(on_the_fly, cohort_of(repeat), {}, repeat.study.out / "on_the_fly").repeat(1.0, 0)
    fit_synthesizer(other, "drawn")
    train(other.training("offline", 1))
    for one in (repeat, other):
        assert read_info(one.training("offline", 1).folder).training["fade"] == [10, 16]


def test_the_report_says_how_the_share_falls_and_an_epoch_of_the_paper_counts_real_cases():
    fell = "the synthetic share falling to 0 from 50% to 80% of the steps"
    assert describe_arm(plan(), "offline") == (
        f"50% injection (12 cases offline), the rest real, no augmentation, {fell}"
    )
    arm = plan(arm={"fade": FADE, "share": 1.0})
    of_paper = arm.model_copy(update={"budget": "paper"})
    assert lengths(of_paper, arm.arms["offline"], 1, real=8, synthetic=12) == (300, 0)


@pytest.mark.parametrize(
    ("arm", "what"),
    [
        ({"synthesizer": None}, "fade has no effect without a synthesizer"),
        ({"finetune": 0.2}, "fade has no place beside finetune"),
        ({"union": True}, "fade has no place beside union"),
        ({"fade": [0.8, 0.5]}, "there is no fall from 0.8 to 0.5 of the steps: give two shares of the steps"),
        ({"fade": [0.5]}, "fade"),
    ],
)
def test_a_fade_that_cannot_be_is_refused(arm, what):
    with pytest.raises(ConfigError, match=what):
        plan(arm={"fade": FADE, **arm})


def test_a_task_that_deals_its_own_items_does_not_fade():
    with pytest.raises(ConfigError, match="arm 'offline' fades, which nnunet cannot"):
        plan(task={"method": "nnunet"})


@BOTH
def test_a_share_of_the_drawings_is_each_scans_own_lesion_in_its_place(spatial_dims, repeats):
    repeat = repeats[spatial_dims]
    with_lesion = {case.case_id for case in repeat.train.with_lesions()}
    assert len(with_lesion) < len(repeat.train)
    drawn = read_cohort(repeat.cohort_folder("drawn"))
    assert {case.source_case for case in drawn} == with_lesion
    redrawn = 0
    for case in drawn:
        found, scan = (load_scan(one, drawn.channels) for one in (case, repeat.train[case.source_case]))
        if np.array_equal(found.label, scan.label):
            redrawn += 1
            assert case.mask_id == case.source_case
        assert np.array_equal(found.label[scan.label > 0], scan.label[scan.label > 0])
        assert not np.array_equal(found.image, scan.image)
    assert 0 < redrawn < len(drawn)


def test_a_share_of_0_draws_other_masks_into_the_same_scans(repeats):
    control = plan(synthesizer={"own_share": 0, "cases": None})
    repeat = repeats[2]
    assert cases_drawn(make_arms(control, cohort_of(repeat), {}, repeat.study.out / "c").repeat(1.0, 0), "drawn") == 2
    source = mask_source(repeat, control.synthesizers["drawn"])
    assert isinstance(source, OwnOrOther)
    assert source.share == 0


def cohort_of(repeat):
    return repeat.study.pool.merge(repeat.study.test).merge(repeat.study.development)


@pytest.mark.parametrize(
    ("synthesizer", "arm", "what"),
    [
        ({"masks": "own"}, {}, "own_share has no effect beside masks: own"),
        ({"method": "carvemix"}, {}, "own_share has no effect beside carvemix, which takes no masks"),
        ({"lesion_free": True}, {}, "lesion-free scans have no lesion of their own to draw"),
        ({"own_share": 1}, {}, "own_share: input should be less than 1"),
        ({}, {"use": "on_the_fly"}, "arm 'offline' draws each scan's own lesion on the fly: use offline"),
        ({}, {"placebo": "shuffled_labels"}, "drawings in a scan have the same"),
    ],
)
def test_a_lesion_is_redrawn_only_where_there_is_one_and_offline(synthesizer, arm, what):
    with pytest.raises(ConfigError, match=what):
        plan(synthesizer={"own_share": 0.5, **synthesizer}, arm={"share": 0.5, **arm})


def test_options_of_masks_other_than_named_edits_are_for_drawing_on_the_fly_too():
    flat = {"masks": "edited", "mask_options": {"flatten_sizes": 0.5}}
    assert plan(synthesizer=flat, arm={"use": "on_the_fly"}).synthesizers["drawn"].mask_options
    with pytest.raises(ConfigError, match="arm 'offline' draws each scan's own lesion on the fly"):
        plan(synthesizer={**flat, "mask_options": {"edit": "shift"}, "blend": "full"}, arm={"use": "on_the_fly"})
