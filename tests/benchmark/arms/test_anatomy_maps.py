"""A plan whose anatomy maps come from a network that was trained on held-out subjects is refused."""

from dataclasses import replace

import pytest

from lesionforge.benchmark.arms.anatomy_maps import map_warnings, subjects_behind_maps
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.cohort.map_maker import MapMaker
from lesionforge.cohort.structures import Structures, write_structures
from lesionforge.errors import LeakError
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort


def study(folder, trained_on, *, arms=("drawn",), spatial_dims=2, known=True):
    """Return the study of a cohort whose maps a network made; ``trained_on`` gives its subjects from those held out."""
    cohort = tiny_cohort(folder / "c", spatial_dims=spatial_dims, n_subjects=8, anatomy=True)
    plan = tiny_plan(spatial_dims, arms={name: {} for name in arms}, synthesizer={})
    if not arms:
        plan = plan.model_copy(update={"synthesizers": {}})
    parts = ArmStudy.make(plan, cohort, {}, folder / "split").arms
    maker = MapMaker(methods=("net",), subjects=trained_on(parts)) if known else None
    mapped = cohort.with_cases([replace(case, map_maker=maker) for case in cohort])
    return ArmStudy.make(plan, mapped, {}, folder / "run")


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["test", "development"])
def test_a_network_that_was_trained_on_a_held_out_subject_is_refused(part, spatial_dims, tmp_path):
    with pytest.raises(LeakError, match=r"net \(anatomy maps\): was fitted on the test subject sub_"):
        study(tmp_path, lambda parts: getattr(parts, part).subjects[:1], spatial_dims=spatial_dims)


def test_each_of_two_networks_of_the_same_method_counts(tmp_path):
    arms = study(tmp_path, lambda parts: ("somebody",)).arms
    first, *others = arms.pool
    other = MapMaker(methods=("net",), subjects=arms.test.subjects)
    for cases in ([replace(first, map_maker=other), *others], [*others, replace(first, map_maker=other)]):
        behind = subjects_behind_maps(replace(arms, pool=arms.pool.with_cases(cases)))
        assert behind == {"net (anatomy maps)": ("somebody", *arms.test.subjects)}


def with_targets(arms, folder, maker):
    """Return the study drawing into the scans of another cohort, whose maps ``maker`` made."""
    tiny_cohort(folder, spatial_dims=2, n_subjects=3, n_healthy=2, anatomy=True)
    write_structures(folder, Structures(names={"rim": 1, "inside": 2}, parenchyma=(2,), maker=maker))
    drawn = {name: one.model_copy(update={"targets": folder}) for name, one in arms.plan.synthesizers.items()}
    return replace(arms, plan=arms.plan.model_copy(update={"synthesizers": drawn}))


def test_the_maps_of_target_scans_count_as_well(tmp_path):
    arms = study(tmp_path, lambda parts: ("somebody",)).arms
    tested = MapMaker(methods=("other",), subjects=arms.test.subjects)
    behind = subjects_behind_maps(with_targets(arms, tmp_path / "known", tested))
    assert behind == {"net (anatomy maps)": ("somebody",), "other (anatomy maps)": arms.test.subjects}
    (line,) = map_warnings(with_targets(arms, tmp_path / "unknown", None))
    assert line.startswith("2 of 10 anatomy maps have no record")


def test_a_network_that_was_trained_on_others_is_not(tmp_path):
    allowed = study(tmp_path, lambda parts: (*parts.pool.subjects, "somebody"))
    assert map_warnings(allowed.arms) == []


def test_a_plan_that_draws_nothing_uses_no_map(tmp_path):
    plain = study(tmp_path, lambda parts: parts.test.subjects, arms=())
    assert map_warnings(plain.arms) == []


def test_maps_without_a_record_are_a_warning_of_the_report(tmp_path):
    unknown = study(tmp_path, None, known=False)
    (line,) = map_warnings(unknown.arms)
    assert line.startswith("8 of 8 anatomy maps have no record of what made them (first: case_00")
    assert line in unknown.doubts
