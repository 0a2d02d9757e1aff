"""The label says lesion where the image shows one, whatever the method and the grids; bright lesions stay bright."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import CohortError
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.drawing import draw_into
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.training.items.samples import cached_samples
from tests.helpers import LESION, NESTED, tiny_cohort, write_array
from tests.preprocessing.test_intensity import brain_scan
from tests.synthesizers.healers import untrained_healer
from tests.synthesizers.models import fit_library, untrained_pix2pix

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
LIBRARIES = ("copy_paste", "injection", "carvemix", "object_paste")
METHODS = (*LIBRARIES, "inpaint", "scan", "label", "pseudo_healthy")
"""Of the other synthesizers, spade and cyclegan draw as ``label`` does, lesion_diffusion as ``inpaint`` and
mask_cyclegan as pseudo_healthy; transformed_copy places no lesion, and selfmix draws only with the lesions of the scan
itself, on its own grid."""
WHOLE = [("scan", "full"), ("label", "full"), ("pseudo_healthy", "full")]


def test_every_synthesizer_is_thought_of():
    others = {
        "pix2pix",
        "spade",
        "cyclegan",
        "lesion_diffusion",
        "transformed_copy",
        "selfmix",
        "pseudo_healthy",
        "mask_cyclegan",
    }
    assert set(SYNTHESIZERS) == {*LIBRARIES, *others, "transformed_copy", "selfmix"}


def fitted(method, cohort, folder, spacing):
    """Return a method whose model works at ``spacing``."""
    dims = len(spacing)
    preprocessing = Preprocessing(spatial_dims=dims, channels=cohort.channels, spacing=spacing)
    if method in LIBRARIES:
        model = fit_library(method, cohort, folder)
        model.info = model.info.model_copy(update={"preprocessing": preprocessing})
        return model
    if method == "pseudo_healthy":
        return untrained_healer(method, cohort, preprocessing=preprocessing)
    return untrained_pix2pix(cohort, preprocessing=preprocessing, condition=method)


def parts_of(mask):
    return ndimage.label(mask, np.ones([3] * mask.ndim))


def single_voxels(scan, step=7):
    """Return a mask of single voxels far from each other, and of one lesion of five voxels a side, inside the head."""
    mask = np.zeros(scan.spatial_shape, np.int16)
    mask[(slice(3, None, step),) * scan.spatial_dims] = 1
    mask[tuple(slice(n // 2 - 2, n // 2 + 3) for n in scan.spatial_shape)] = 1
    return np.where(scan.image[0] > 20, mask, 0).astype(np.int16)


@DIMS
@pytest.mark.parametrize("factor", [0.4, 1.0, 2.6], ids=["finer", "the same", "coarser"])
@pytest.mark.parametrize(("method", "blend"), [*((name, "lesion") for name in METHODS), *WHOLE])
def test_wherever_a_lesion_is_new_the_image_shows_it(method, blend, factor, spatial_dims, cohorts, tmp_path):
    scan = with_region(load_scan(cohorts[spatial_dims].cases[0], cohorts[spatial_dims].channels))
    spacing = tuple(factor * mm for mm in scan.spacing)
    model = fitted(method, cohorts[spatial_dims], tmp_path / "m", spacing)
    wanted = single_voxels(scan) if model.needs_mask else np.zeros(scan.spatial_shape, np.int16)
    sample = model.info.preprocessing.forward(scan)
    drawing = draw_into(model, scan, sample, wanted, generator(0), blend=blend)
    new = (drawing.label != scan.label) & (drawing.label > 0)
    parts, count = parts_of(new)
    assert count > 0
    changed = (drawing.image != scan.image).any(axis=0)
    assert set(range(1, count + 1)) <= set(np.unique(parts[changed]))
    if model.needs_mask:
        asked, number = parts_of(wanted > 0)
        kept = np.unique(asked[new])
        assert np.array_equal(new | (scan.label > 0), np.isin(asked, kept[kept > 0]) | (scan.label > 0))
        on_grid = model.info.preprocessing.geometry(scan).to_model(asked.astype(np.int16), label=True)
        assert len(np.unique(on_grid)) - 1 < number or factor <= 1
        assert not new[~np.isin(asked, np.unique(on_grid))].any()


@DIMS
@pytest.mark.parametrize("method", ["copy_paste", "inpaint", "label"])
def test_a_mask_that_falls_between_the_models_voxels_is_refused(method, spatial_dims, cohorts, tmp_path):
    scan = load_scan(cohorts[spatial_dims].cases[0], cohorts[spatial_dims].channels)
    model = fitted(method, cohorts[spatial_dims], tmp_path / "m", tuple(4 * mm for mm in scan.spacing))
    geometry = model.info.preprocessing.geometry(scan)
    numbers = np.arange(scan.image[0].size, dtype=np.int32).reshape(scan.spatial_shape)
    lost = ~np.isin(numbers, geometry.to_model(numbers, label=True)) & (scan.image[0] > 20)
    mask = np.zeros(scan.spatial_shape, np.int16)
    mask[tuple(np.argwhere(lost)[0])] = 1
    sample = model.info.preprocessing.forward(scan)
    with pytest.raises(CohortError, match="falls between the voxels of the model, whose spacing is"):
        draw_into(model, scan, sample, mask, generator(0), blend="lesion")


@DIMS
def test_a_drawing_that_changes_nothing_is_refused(spatial_dims, cohorts, tmp_path):
    scan = load_scan(cohorts[spatial_dims].cases[0], cohorts[spatial_dims].channels)
    dark = replace(scan, image=0 * scan.image, label=0 * scan.label)
    model = fitted("injection", cohorts[spatial_dims], tmp_path / "m", scan.spacing)
    sample = model.info.preprocessing.forward(dark)
    with pytest.raises(CohortError, match="does not change the image"):
        draw_into(model, dark, sample, single_voxels(scan), generator(0), blend="lesion")


def test_a_change_that_the_files_steps_swallow_is_no_lesion(tmp_path):
    """int16 with a slope beyond what a drawing changes: the image is stored as it was."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3)
    model = fitted("copy_paste", cohort, tmp_path / "m", load_scan(cohort.cases[0], cohort.channels).spacing)
    path = cohort.cases[0].images[cohort.channels[0]]
    stored, affine, slope, _ = read_raw(path)
    coarse = nib.Nifti1Image(np.full(stored.shape, 1, np.int16), affine)
    coarse.header.set_slope_inter(100 * slope * float(stored.max()), 0)
    nib.save(coarse, path)
    scan = load_scan(cohort.cases[0], cohort.channels)
    sample = model.info.preprocessing.forward(with_region(scan))
    mask = np.zeros(scan.spatial_shape, np.int16)
    mask[tuple(slice(n // 2 - 2, n // 2 + 3) for n in scan.spatial_shape)] = 1
    with pytest.raises(CohortError, match="does not change the image"):
        draw_into(model, scan, sample, mask, generator(0), blend="lesion")


@DIMS
def test_a_part_between_the_models_voxels_takes_the_class_that_is_drawn_there(spatial_dims, cohorts, tmp_path):
    cohort = replace(cohorts[spatial_dims], labels=NESTED)
    scan = with_region(load_scan(cohort.cases[0], cohort.channels))
    model = fitted("inpaint", cohort, tmp_path / "m", tuple(3 * mm for mm in scan.spacing))
    mask = np.zeros(scan.spatial_shape, np.int16)
    mask[tuple(slice(n // 2 - 4, n // 2 + 5) for n in scan.spatial_shape)] = 1
    numbers = np.arange(mask.size, dtype=np.int32).reshape(mask.shape)
    on_grid = np.isin(numbers, model.info.preprocessing.geometry(scan).to_model(numbers, label=True))
    inside = ndimage.binary_erosion(mask > 0)
    lost, found = tuple(np.argwhere(inside & ~on_grid)[0]), tuple(np.argwhere(inside & on_grid)[-1])
    mask[lost], mask[found] = 2, 2
    drawing = draw_into(model, scan, model.info.preprocessing.forward(scan), mask, generator(0), blend="lesion")
    assert (drawing.label[lost], drawing.label[found]) == (1, 2)
    assert np.array_equal(drawing.label > 0, (mask > 0) | (scan.label > 0))


@DIMS
def test_a_lesion_that_is_lost_in_training_is_named_and_not_taken_for_healthy(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=3)
    small = np.zeros(load_scan(cohort.cases[1], cohort.channels).spatial_shape, np.uint8)
    small[(1,) * spatial_dims] = 1
    write_array(cohort.cases[1].label, small, load_scan(cohort.cases[1], cohort.channels).affine)
    spacing = tuple(5 * mm for mm in load_scan(cohort.cases[0], cohort.channels).spacing)
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, spacing=spacing)
    with pytest.raises(CohortError, match=r"case_001.*fall between the voxels of the model"):
        cached_samples(cohort, preprocessing)


@DIMS
@pytest.mark.parametrize("method", LIBRARIES)
def test_small_bright_lesions_are_drawn_as_bright_and_as_varied_as_they_are(method, spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=3, labels=LESION)
    for number, case in enumerate(cohort):
        scan = brain_scan(spatial_dims, seed=number)
        write_array(case.images["FLAIR"], scan.image[0], np.diag([1.0, 1.0, 1.0, 1.0]))
        write_array(case.label, scan.label.astype(np.uint8), np.diag([1.0, 1.0, 1.0, 1.0]))
    model = fit_library(method, cohort, tmp_path / "m", **({"prob": 0.0} if method == "object_paste" else {}))
    target = brain_scan(spatial_dims, lesion=None, seed=9)
    write_array(tmp_path / "target.nii.gz", target.image[0], target.affine)
    target = replace(target, case=replace(target.case, images={"FLAIR": tmp_path / "target.nii.gz"}))
    shift = tuple([-20] + [4] * (spatial_dims - 1))
    wanted = np.roll(brain_scan(spatial_dims).label, shift, tuple(range(spatial_dims)))
    sample = model.info.preprocessing.forward(with_region(target))
    mask = wanted if model.needs_mask else 0 * wanted
    drawing = draw_into(model, target, sample, mask, generator(1), blend="lesion")
    lesion = drawing.image[0][drawing.label > 0]
    assert np.median(lesion) == pytest.approx(200, abs=12)
    assert lesion.std() > 3
