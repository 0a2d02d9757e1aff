import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from lesionforge.masks import EditedMasks, Ellipsoids, MaskBank, make_mask_source
from lesionforge.masks.bank import CroppedMask, resample
from lesionforge.masks.editing.edit_config import EditConfig
from lesionforge.masks.placement import centroid, region_box
from lesionforge.preprocessing.brain.region import with_region
from tests.helpers import NESTED, tiny_cohort
from tests.masks.scans import ball, make_scan

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def nested_lesion(spatial_dims, spacing=None, size=31):
    spacing = spacing or (1.0,) * spatial_dims
    shape = [max(3, round(size / s)) for s in spacing]
    middle = [(n - 1) / 2 for n in shape]
    mask = np.zeros(shape, np.int16)
    for value, share in enumerate((0.5, 0.34, 0.2), start=1):
        mask[ball(shape, middle, [share * n for n in shape])] = value
    return CroppedMask(mask=mask, spacing=spacing, centre=(0.5,) * spatial_dims, mask_id="m", subject="a")


class OneLesion(MaskBank):
    """A bank of one lesion that was never on disk."""

    def __init__(self, lesion):
        self.lesions, self.subjects = (lesion,), frozenset({lesion.subject})


def is_nested(mask):
    """Return whether class 3 touches only 3 and 2, and class 2 never the background."""
    for axis in range(mask.ndim):
        a, b = np.moveaxis(mask, axis, 0)[:-1], np.moveaxis(mask, axis, 0)[1:]
        if np.abs(a - b).max() > 1:
            return False
    return True


@pytest.mark.parametrize("target", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.9, 1.9, 7.0), (0.5, 0.9, 4.0)])
@pytest.mark.parametrize("source", [(1.0, 1.0, 1.0), (1.9, 1.9, 6.0)])
def test_volume_in_mm3_survives_another_spacing(source, target):
    lesion = nested_lesion(3, source, size=45)
    volume = np.count_nonzero(lesion.mask) * np.prod(source)
    resampled = resample(lesion.mask, source, target)
    assert np.count_nonzero(resampled) * np.prod(target) == pytest.approx(volume, rel=0.2)
    assert set(np.unique(resampled)) <= {0, 1, 2, 3}


def test_same_spacing_changes_nothing():
    lesion = nested_lesion(3, (2.0, 2.0, 4.0))
    assert np.array_equal(resample(lesion.mask, lesion.spacing, (2.0, 2.0, 4.0)), lesion.mask)


@both
def test_the_bank_knows_masks_subjects_and_places(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=3, n_healthy=1, labels=NESTED)
    bank = MaskBank(cohort)
    assert bank.subjects == {"sub_00", "sub_01"}
    assert [lesion.mask_id for lesion in bank.lesions] == ["case_000", "case_001"]
    for lesion in bank.lesions:
        label = load_scan(cohort[lesion.mask_id], ["FLAIR"]).label
        assert np.array_equal(np.bincount(lesion.mask.ravel())[1:], np.bincount(label.ravel())[1:])
        assert all(0.1 < c < 0.9 for c in lesion.centre)
    with pytest.raises(ConfigError, match="no case has a lesion"):
        MaskBank(cohort.healthy())


@both
def test_every_lesion_is_drawn(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=4)
    bank, scan, rng = MaskBank(cohort), make_scan(spatial_dims), np.random.default_rng(0)
    drawn = [bank.draw(scan, rng) for _ in range(60)]
    assert {d.mask_id for d in drawn} == {case.case_id for case in cohort}
    for d in drawn:
        assert d.subjects == {cohort[d.mask_id].subject_id}


@pytest.mark.parametrize("axes", [("L", "P", "S"), ("S", "R", "A"), ("A", "I", "L")])
def test_orientation_of_source_and_target_does_not_matter(tmp_path, axes):
    plain = tiny_cohort(tmp_path / "ras", spatial_dims=3, n_subjects=1)
    case = plain.cases[0]
    turned = {}
    for path in (case.images["FLAIR"], case.label):
        image = nib.load(path)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
        turned[path] = tmp_path / "turned" / path.parent.name / path.name
        turned[path].parent.mkdir(parents=True)
        nib.save(image.as_reoriented(turn), turned[path])
    other = plain.with_cases(
        [
            type(case)(
                case_id=case.case_id,
                subject_id=case.subject_id,
                images={"FLAIR": turned[case.images["FLAIR"]]},
                annotation=case.annotation,
                label=turned[case.label],
            )
        ]
    )
    target = load_scan(case, ["FLAIR"])
    expected = MaskBank(plain).draw(target, np.random.default_rng(0))
    from_turned = MaskBank(other).draw(target, np.random.default_rng(0))
    assert np.array_equal(expected.mask, from_turned.mask)
    assert np.allclose(expected.centre, from_turned.centre, atol=0.05)
    turned_target = load_scan(other.cases[0], ["FLAIR"])
    back = MaskBank(other).draw(turned_target, np.random.default_rng(0))
    label = turned_target.label
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(label))
    assert np.array_equal(back.mask, label[box])
    low, high = region_box(with_region(turned_target).region)
    assert np.allclose(low + np.array(back.centre) * (high - low), centroid(label), atol=1)


@both
def test_mirror_and_shift_keep_the_volume(spatial_dims):
    source = OneLesion(nested_lesion(spatial_dims, make_scan(spatial_dims).spacing))
    scan = make_scan(spatial_dims)
    edited = EditedMasks(source, shift_mm=(-8, 8), scale=(1, 1), rotation_deg=0, mirror=True, elastic_mm=0)
    original = source.draw(scan, np.random.default_rng(0))
    centres = set()
    for seed in range(10):
        drawn = edited.draw(scan, np.random.default_rng(seed))
        assert np.array_equal(np.bincount(drawn.mask.ravel())[1:], np.bincount(original.mask.ravel())[1:])
        assert (drawn.mask_id, drawn.subjects) == ("m+edited", {"a"})
        centres.add(drawn.centre)
    assert len(centres) == 10


@both
def test_scale_changes_the_volume_as_it_should(spatial_dims):
    scan = make_scan(spatial_dims)
    source = OneLesion(nested_lesion(spatial_dims, size=25))
    before = np.count_nonzero(source.lesions[0].mask)
    voxel = np.prod(scan.spacing)
    for factor in (0.7, 1.0, 1.4):
        edited = EditedMasks(source, scale=(factor, factor), rotation_deg=0, elastic_mm=0)
        after = np.count_nonzero(edited.draw(scan, np.random.default_rng(1)).mask) * voxel
        assert after == pytest.approx(before * factor**spatial_dims, rel=0.25)


@both
def test_rotation_and_bending_change_the_shape_and_hardly_the_volume(spatial_dims):
    scan = make_scan(spatial_dims)
    shape = [41, 21, 9][:spatial_dims]
    mask = ball(shape, [(n - 1) / 2 for n in shape], [n / 2 for n in shape]).astype(np.int16)
    source = OneLesion(CroppedMask(mask=mask, spacing=scan.spacing, centre=None, mask_id="m", subject="a"))
    edited = EditedMasks(source, scale=(1, 1), rotation_deg=40, elastic_mm=1.5)
    masks = [edited.draw(scan, np.random.default_rng(seed)).mask for seed in range(8)]
    assert len({m.tobytes() for m in masks}) == 8
    for m in masks:
        assert np.count_nonzero(m) == pytest.approx(np.count_nonzero(mask), rel=0.3)
    if spatial_dims == 3:
        flat = EditedMasks(source, scale=(1, 1), rotation_deg=40, elastic_mm=0)
        assert {flat.draw(scan, np.random.default_rng(seed)).mask.shape[2] for seed in range(8)} == {9}


@both
def test_nested_classes_stay_nested(spatial_dims):
    scan = make_scan(spatial_dims)
    spacing = scan.spacing
    source = OneLesion(nested_lesion(spatial_dims, (min(spacing),) * spatial_dims, size=40))
    smooth = EditedMasks(source, scale=(1.2, 1.6), rotation_deg=30, elastic_mm=0.3)
    for seed in range(6):
        mask = smooth.draw(make_scan(spatial_dims, affine=np.eye(4)), np.random.default_rng(seed)).mask
        assert set(np.unique(mask)) == {0, 1, 2, 3}
        assert is_nested(mask)


def test_ranges_that_make_no_sense_are_refused():
    source = OneLesion(nested_lesion(2))
    with pytest.raises(ConfigError, match="are swapped"):
        EditedMasks(source, shift_mm=(5, -5))
    with pytest.raises(ConfigError, match="out of range"):
        EditedMasks(source, scale=(0, 1))
    with pytest.raises(ConfigError, match="not a range above 0"):
        Ellipsoids(diameter_mm=(10, 5))
    with pytest.raises(ConfigError, match="not a range above 0"):
        Ellipsoids(count=(0, 2))


@both
def test_ellipsoids_have_the_wanted_number_and_size(spatial_dims):
    from scipy import ndimage

    scan = make_scan(spatial_dims)
    counts = set()
    for seed in range(20):
        drawn = Ellipsoids(count=(1, 3), diameter_mm=(8, 16), irregularity=0, label=2).draw(
            scan, np.random.default_rng(seed)
        )
        counts.add(ndimage.label(drawn.mask)[1])
        assert set(np.unique(drawn.mask)) <= {0, 2}
    assert counts <= {1, 2, 3}
    assert len(counts) > 1
    one = Ellipsoids(count=(1, 1), diameter_mm=(12, 12), irregularity=0)
    size_mm = np.array(one.draw(scan, np.random.default_rng(0)).mask.shape) * scan.spacing
    assert np.all(np.abs(size_mm - 12) <= np.array(scan.spacing) + 1e-6)


@both
def test_ellipsoids_follow_a_prior(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1)
    scan = load_scan(cohort.cases[0], ["FLAIR"])
    scan = make_scan(spatial_dims)
    guided = Ellipsoids(count=(1, 1), diameter_mm=(6, 8), prior=cohort)
    free = Ellipsoids(count=(1, 1), diameter_mm=(6, 8))

    def spread(source):
        corners = [source.draw(scan, np.random.default_rng(seed)).corner for seed in range(60)]
        return np.std(np.array(corners) * scan.spacing, axis=0).mean()

    assert spread(guided) < 0.8 * spread(free)
    assert guided.subjects == {"sub_00"}


@both
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_flattened_sizes_are_drawn_with_a_power_of_their_volume(tmp_path, spatial_dims, exponent):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=2)
    sizes = (3, 6)
    for case, size in zip(cohort, sizes, strict=True):
        label = np.zeros(load_scan(case, cohort.channels).spatial_shape, np.int16)
        label[(slice(8, 8 + size),) * spatial_dims] = 1
        save_label(case.label, label, case.label)
    bank, rng = make_mask_source("bank", cohort, options={"flatten_sizes": exponent}), np.random.default_rng(0)
    among = np.arange(2)
    small = np.mean([bank.pick(among, rng) is bank.lesions[0] for _ in range(2000)])
    assert small == pytest.approx(1 / (1 + 2 ** (-exponent * spatial_dims)), abs=0.04)
    evenly = MaskBank(cohort)
    assert (bank.digest == evenly.digest) == (exponent == 0)
    if exponent == 0:
        again, before = np.random.default_rng(5), np.random.default_rng(5)
        assert [bank.pick(among, again) for _ in range(9)] == [bank.lesions[before.integers(2)] for _ in range(9)]


@pytest.mark.parametrize("spec", ["bank", "edited", "interpolated"])
def test_sizes_are_flattened_where_a_lesion_is_drawn_at_random(tmp_path, spec):
    cohort = tiny_cohort(tmp_path, spatial_dims=2)
    source = make_mask_source(spec, cohort, options={"flatten_sizes": 0.5})
    assert source.digest != make_mask_source(spec, cohort).digest
    with pytest.raises(ConfigError, match="flatten_sizes"):
        make_mask_source(spec, cohort, options={"flatten_sizes": -1})


def test_a_named_edit_draws_no_size():
    with pytest.raises(ConfigError, match="flatten_sizes has no effect on shift"):
        parse_options(EditConfig, {"edit": "shift", "flatten_sizes": 0.5})
