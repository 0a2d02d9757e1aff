"""Named edits of lesion labels, in 2D and 3D."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.brats import CHILDREN, SINCE_2023
from lesionforge.cohort.scan import load_scan
from lesionforge.config import parse_options
from lesionforge.errors import CohortError, ConfigError, PlacementError
from lesionforge.masks import make_mask_source
from lesionforge.masks.editing.donors import read_donors
from lesionforge.masks.editing.edit_config import FACTORS, OWN_EDITS, EditConfig
from lesionforge.masks.editing.named_edits import NamedEdits
from lesionforge.masks.placement import centroid
from lesionforge.seeding import generator
from tests.helpers import NESTED, tiny_cohort, write_array
from tests.masks.scans import ball, make_scan

BRATS = {"background": 0, **SINCE_2023}
both = pytest.mark.parametrize("spatial_dims", [2, 3])
own_edit = pytest.mark.parametrize("edit", OWN_EDITS)


def edits(edit, donors=(), **options):
    return NamedEdits(parse_options(EditConfig, {"edit": edit, **options}), donors)


def nested_lesion(scan, share=(0.35, 0.5, 0.5), radius_mm=12.0):
    """A lesion of three nested classes, off the middle of the brain."""
    centre = [s * (n - 1) for s, n in zip(share, scan.spatial_shape, strict=False)]
    label = np.zeros(scan.spatial_shape, np.int16)
    for value in (1, 2, 3):
        radii = [radius_mm * (1 - 0.25 * (value - 1)) / step for step in scan.spacing]
        label[ball(scan.spatial_shape, centre, radii)] = value
    return label


def a_scan(spatial_dims, **place):
    scan = make_scan(spatial_dims)
    return replace(scan, label=nested_lesion(scan, **place))


def volume(mask, value=1):
    return np.count_nonzero(mask >= value)


@both
@own_edit
def test_the_result_is_inside_the_brain_nested_and_the_same_for_the_same_seed(edit, spatial_dims):
    scan, source = a_scan(spatial_dims), edits(edit)
    before = scan.label.copy()
    for seed in range(4):
        placed = source.sample(scan, generator(seed))
        again = source.sample(scan, generator(seed))
        assert np.array_equal(placed.mask, again.mask)
        assert placed.edits == again.edits
        assert not placed.mask[~scan.region].any()
        assert set(np.unique(placed.mask)) == {0, 1, 2, 3}
        for value in (2, 3):
            outer, inner = (np.nonzero(placed.mask >= least) for least in (value - 1, value))
            assert all(a.min() <= b.min() <= b.max() <= a.max() for a, b in zip(outer, inner, strict=True))
        assert placed.instead
        assert (placed.mask_id, placed.subjects) == (f"target+{edit}", scan.case.ancestry)
    assert np.array_equal(scan.label, before)


@both
@pytest.mark.parametrize("edit", FACTORS)
def test_a_lesion_grows_or_shrinks_in_place_by_the_factor_that_its_record_names(edit, spatial_dims):
    scan = a_scan(spatial_dims)
    for seed in range(4):
        placed = edits(edit).sample(scan, generator(seed))
        (line,) = placed.edits
        low, high = FACTORS[edit]
        assert low <= line.factor <= high
        for value in (1, 2, 3) if spatial_dims == 2 else (1,):
            grown = (volume(placed.mask, value) / volume(scan.label, value)) ** (1 / spatial_dims)
            assert grown == pytest.approx(line.factor, rel=0.12)
        moved = (centroid(placed.mask) - centroid(scan.label)) * scan.spacing
        assert np.abs(moved).max() <= max(scan.spacing)


@both
def test_a_shift_keeps_the_shape_and_stays_within_the_distance(spatial_dims):
    scan = a_scan(spatial_dims)
    for seed in range(8):
        placed = edits("shift", distance_mm=(4, 10)).sample(scan, generator(seed))
        (line,) = placed.edits
        assert 0 < np.linalg.norm(line.shift_mm) <= 10
        if line.kept == 1:
            assert volume(placed.mask) == volume(scan.label)
            moved = (centroid(placed.mask) - centroid(scan.label)) * scan.spacing
            np.testing.assert_allclose(moved, line.shift_mm, atol=1e-3)


@both
def test_a_mirrored_lesion_lies_in_the_other_hemisphere(spatial_dims):
    scan = a_scan(spatial_dims, share=(0.35, 0.35, 0.5))
    axis = 1 if spatial_dims == 2 else 0
    placed = edits("mirror").sample(scan, generator(0))
    middle = (scan.spatial_shape[axis] - 1) / 2
    before, after = (centroid(mask)[axis] - middle for mask in (scan.label, placed.mask))
    assert after == pytest.approx(-before, abs=1)
    assert volume(placed.mask) == volume(scan.label)


@both
def test_every_lesion_is_edited_on_its_own(spatial_dims):
    scan = make_scan(spatial_dims)
    one, other = (nested_lesion(scan, share=(s, s, 0.5), radius_mm=9.0) for s in (0.32, 0.68))
    scan = replace(scan, label=np.maximum(one, other))
    placed = edits("enlarge").sample(scan, generator(1))
    factors = [line.factor for line in placed.edits]
    assert len(factors) == len(set(factors)) == 2
    assert [line.lesion for line in placed.edits] == [0, 1]


@both
def test_lesions_that_grow_into_each_other_keep_the_inner_class(spatial_dims):
    scan = make_scan(spatial_dims)
    steps = [0.5] * spatial_dims
    label = np.zeros(scan.spatial_shape, np.int16)
    for share, value in ((0.42, 3), (0.58, 1)):
        centre = [
            share * (scan.spatial_shape[0] - 1),
            *(s * (n - 1) for s, n in zip(steps, scan.spatial_shape[1:], strict=False)),
        ]
        label[ball(scan.spatial_shape, centre, [5.5 / step for step in scan.spacing])] = value
    scan = replace(scan, label=label)
    for nested, inner in (((), 3), ((3, 1), 1)):
        placed = edits("enlarge", factor=(1.5, 1.5), nested=nested).sample(scan, generator(0))
        alone = edits("enlarge", factor=(1.5, 1.5)).sample(
            replace(scan, label=np.where(label == inner, inner, 0).astype(np.int16)), generator(0)
        )
        assert np.array_equal(placed.mask == inner, alone.mask == inner)


def with_ventricles(scan, middle):
    """A scan whose anatomy map names a pool of fluid."""
    anatomy = scan.region.astype(np.int16)
    anatomy[ball(scan.spatial_shape, middle, [8.0 / step for step in scan.spacing])] = 2
    case = replace(scan.case, fluid=(2,))
    return replace(scan, anatomy=np.where(scan.label > 0, 1, anatomy).astype(np.int16), case=case)


@both
def test_what_an_option_says_wins_where_lesion_and_ventricles_meet(spatial_dims):
    scan = a_scan(spatial_dims)
    scan = with_ventricles(scan, [(n - 1) / 2 for n in scan.spatial_shape])
    fluid = scan.anatomy == 2
    in_fluid = {}
    for winner in ("fluid", "core", "lesion"):
        source = edits("enlarge", factor=(1.5, 1.5), over_fluid=winner)
        in_fluid[winner] = source.sample(scan, generator(0)).mask[fluid]
    assert not in_fluid["fluid"].any()
    assert (in_fluid["lesion"] == 1).any()
    assert not (in_fluid["core"] == 1).any()
    assert np.array_equal(in_fluid["core"] > 1, in_fluid["lesion"] > 1)


@both
@pytest.mark.parametrize("values", [BRATS, CHILDREN], ids=["adults", "children"])
def test_classes_of_brats_are_nested_by_their_names_not_their_values(values, spatial_dims):
    scan = make_scan(spatial_dims)
    off = 14.5 / (scan.spacing[0] * scan.spatial_shape[0])
    one, other = (nested_lesion(scan, share=(0.5 + by, 0.4, 0.5), radius_mm=12.0) for by in (-off, off))
    scan = with_ventricles(replace(scan, label=np.maximum(one, other)), [(n - 1) / 2 for n in scan.spatial_shape])
    to_values = np.array([0, values["ED"], values.get("NCR", values.get("NET")), values["ET"]], np.int16)
    of_brats = replace(scan, label=to_values[scan.label])
    cohort = Cohort(name="BraTS", channels=("FLAIR",), labels=values, cases=())
    for winner in ("core", "lesion"):
        options = {"edit": "enlarge", "factor": (1.5, 1.5), "over_fluid": winner}
        by_name = make_mask_source("edited", cohort, options=options).sample(of_brats, generator(0))
        by_value, nested = (edits(**options).sample(lesions, generator(0)) for lesions in (of_brats, scan))
        assert np.array_equal(by_name.mask, to_values[nested.mask])
        assert not np.array_equal(by_name.mask, by_value.mask)


def test_the_order_of_brats_is_that_of_every_edit_unless_another_is_given():
    cohort = Cohort(name="BraTS", channels=("FLAIR",), labels=BRATS, cases=())
    source = make_mask_source("edited", cohort, options={"edit": "any"})
    assert {edit.config.nested for edit in source.edits} == {(2, 1, 3)}
    given = make_mask_source("edited", cohort, options={"edit": "shift", "nested": (1, 2, 3)})
    assert given.config.nested == (1, 2, 3)


def healthy_and_donors(folder, spatial_dims, **how):
    cohort = tiny_cohort(folder, spatial_dims=spatial_dims, labels=NESTED, n_subjects=4, n_healthy=1, **how)
    return load_scan(cohort.healthy().cases[0], cohort.channels), cohort


@both
def test_a_transplant_lies_at_the_same_place_of_a_brain_of_another_size_without_ants(
    tmp_path, spatial_dims, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ants", None)
    _, cohort = healthy_and_donors(tmp_path, spatial_dims)
    case = cohort.with_lesions().cases[0]
    donor = read_donors(cohort.subset([case.case_id]))
    scan = make_scan(spatial_dims)
    placed = edits("transplant", donor).sample(scan, generator(0))
    source = load_scan(case, cohort.channels)
    wholes = [(mask, brain) for mask, brain in ((source.label, source.image[0] > 20), (placed.mask, scan.region))]
    places = [(centroid(mask) - centroid(brain)) / [np.ptp(p) for p in np.nonzero(brain)] for mask, brain in wholes]
    np.testing.assert_allclose(*places, atol=0.06)
    shares = [volume(mask) / np.count_nonzero(brain) for mask, brain in wholes]
    assert shares[1] == pytest.approx(shares[0], rel=0.25)
    assert not placed.mask[~scan.region].any()
    assert placed.subjects == {case.subject_id}
    assert (placed.mask_id, placed.instead) == (f"{case.case_id}+transplant", False)
    assert {line.source_case for line in placed.edits} == {case.case_id}


@both
def test_a_healthy_brain_with_a_lesion_and_a_scan_without_are_refused_in_one_line(tmp_path, spatial_dims):
    healthy, cohort = healthy_and_donors(tmp_path, spatial_dims)
    scan = a_scan(spatial_dims)
    with pytest.raises(CohortError, match=r"target: has a lesion.*lesion-free brain.*heal"):
        edits("transplant", read_donors(cohort)).sample(scan, generator(0))
    with pytest.raises(CohortError, match=r"target: has a lesion, or unknown ones"):
        edits("transplant", read_donors(cohort)).sample(replace(scan, label=None), generator(0))
    with pytest.raises(CohortError, match="has no lesion to shift"):
        edits("shift").sample(healthy, generator(0))


@both
def test_a_tumour_that_is_larger_than_the_target_brain_is_refused_in_one_line(tmp_path, spatial_dims):
    _, cohort = healthy_and_donors(tmp_path, spatial_dims)
    case = cohort.with_lesions().cases[0]
    whole = np.ones(load_scan(case, cohort.channels).spatial_shape, np.uint8)
    write_array(case.label, whole, np.diag([2.0, 2.0, 2.0, 1.0]))
    donors = read_donors(cohort.subset([case.case_id]))
    with pytest.raises(PlacementError, match=rf"target: the lesions of {case.case_id} .* larger than this brain"):
        edits("transplant", donors).sample(make_scan(spatial_dims), generator(0))


@both
def test_an_edit_that_does_not_fit_is_tried_again_and_refused_in_the_end(spatial_dims):
    scan = a_scan(spatial_dims)
    with pytest.raises(PlacementError, match=r"no lesion fits after shift \(4 tried\)"):
        edits("shift").sample(scan, generator(0), min_volume=1e9, max_redraws=3)
    with pytest.raises(PlacementError, match=r"no lesion fits after mirror \(1 tried\)"):
        edits("mirror").sample(scan, generator(0), min_volume=1e9)
    nowhere = replace(scan, region=np.zeros_like(scan.region))
    with pytest.raises(PlacementError, match="no brain"):
        edits("shift").sample(nowhere, generator(0))


def test_a_volume_of_one_slice_keeps_one_slice():
    flat = a_scan(2)
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    parts = {name: getattr(flat, name)[..., None] for name in ("image", "label", "region")}
    scan = replace(flat, affine=affine, **parts)
    for edit in OWN_EDITS:
        placed = edits(edit).sample(scan, generator(0))
        assert placed.mask.shape == scan.spatial_shape
        assert all(line.shift_mm[2] == 0 for line in placed.edits)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"edit": "blur"}, "enlarge"),
        ({"edit": "enlarge", "factor": (0.8, 1.2)}, "within 1 to 1.5 for enlarge"),
        ({"edit": "shrink", "factor": (0.5, 0.9)}, "within 0.6 to 1 for shrink"),
        ({"edit": "shift", "factor": (1.1, 1.2)}, "no effect on shift"),
        ({"edit": "shift", "distance_mm": (5, 26)}, "up to 25 mm"),
        ({"edit": "shift", "nested": (1, 1)}, "each lesion class once"),
        ({"factor": (1.1, 1.2)}, "edit is missing"),
        ({"scale": 2}, "is no option"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, what):
    cohort = tiny_cohort(tmp_path, spatial_dims=2)
    with pytest.raises(ConfigError, match=what):
        make_mask_source("edited", cohort, options=options)


def test_classes_that_nested_does_not_name_are_refused():
    with pytest.raises(ConfigError, match="does not name the lesion class 2 of target"):
        edits("shift", nested=(1, 3)).sample(a_scan(2), generator(0))


def test_other_sources_have_no_options(tmp_path):
    with pytest.raises(ConfigError, match="edit: is no option"):
        make_mask_source("bank", tiny_cohort(tmp_path, spatial_dims=2), options={"edit": "shift"})


@both
def test_digests_tell_lesions_and_options_apart(tmp_path, spatial_dims):
    _, cohort = healthy_and_donors(tmp_path, spatial_dims)
    donors = read_donors(cohort)
    digests = [
        edits("shift").digest,
        edits("shift", distance_mm=(5, 6)).digest,
        edits("transplant", donors).digest,
        edits("transplant", donors[1:]).digest,
    ]
    assert len(set(digests)) == 4
    assert edits("transplant", read_donors(cohort)).digest == digests[2]
