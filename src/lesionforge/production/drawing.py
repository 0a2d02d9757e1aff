"""Drawing of one lesion into one scan, on the scan's own grid and in its units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import measure

from lesionforge.cohort.image_file import read_encoding
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.geometry import Geometry, between_voxels
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.blend import Blend, blend_lesion
from lesionforge.production.network_changes import share_changed_outside
from lesionforge.synthesizers.base import Synthesizer


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A scan with a lesion drawn into it.

    Attributes:
        image: ``(channel, x, y[, z])`` in the units of the files.
        touched: ``(x, y[, z])`` mask of the voxels that differ from the scan.
        label: ``(x, y[, z])`` old and new lesions.
        changed_outside: what a method that draws the whole image changed outside the mask before blending, see
            :func:`~lesionforge.production.network_changes.share_changed_outside`; ``None`` for other methods.
    """

    image: FloatArray
    touched: BoolArray
    label: LabelArray
    changed_outside: float | None


def draw_into(
    model: Synthesizer,
    scan: Scan,
    sample: Sample,
    mask: LabelArray,
    rng: np.random.Generator,
    *,
    blend: Blend,
    negative: bool = False,
) -> Drawing:
    """Draw one lesion into one scan; parts of the mask that the image does not show are left out of the label.

    Args:
        model: the synthesizer.
        scan: the scan, with exactly the model's channels.
        sample: the scan in model space, as returned by ``Preprocessing.forward``.
        mask: ``(x, y[, z])`` mask on the scan's grid; all zero for a method that brings its own label.
        rng: source of all randomness.
        blend: ``"lesion"`` keeps the scan outside the mask and its margin; ``"full"`` takes the whole drawn image. A
            method that draws the whole image with its own label always uses ``"full"``.
        negative: draw healthy tissue, or a mimic, in the place of the lesion; the label stays as it was.

    Raises:
        CohortError: if no voxel of the mask is left on the model's grid, or the drawing does not change the image.
    """
    preprocessing = model.info.preprocessing
    geometry = preprocessing.geometry(scan)
    mask = _on_grid_of(mask, geometry, scan.case.case_id)
    on_grid = geometry.to_model(mask, label=True)
    drawn = (model.redraw_healthy if negative else model.synthesize)(sample, on_grid, rng)
    if negative:
        label = np.zeros_like(mask) if scan.label is None else scan.label
    elif model.needs_mask:
        label = np.where(mask > 0, mask, 0 if scan.label is None else scan.label).astype(np.int16)
    else:
        label = _label_of(drawn, sample, scan, geometry)
    values, touched = _composed(model, scan, sample, drawn.image, mask, on_grid, blend)
    outside = None
    if model.draws_whole_image and model.needs_mask:
        outside = share_changed_outside(preprocessing, drawn.image, sample.image, on_grid)
    return Drawing(image=values, touched=touched, label=_shown(label, mask, values, scan), changed_outside=outside)


def _composed(
    model: Synthesizer,
    scan: Scan,
    sample: Sample,
    image: FloatArray,
    mask: LabelArray,
    on_grid: LabelArray,
    blend: Blend,
) -> tuple[FloatArray, BoolArray]:
    """Return the drawn image on the scan's grid and in its units, and the voxels that may have changed."""
    preprocessing, within = model.info.preprocessing, None
    if blend == "full" or (model.draws_whole_image and not model.needs_mask):
        return preprocessing.replace(image, scan)
    if model.draws_whole_image:
        dims = preprocessing.spatial_dims
        image = blend_lesion(sample, image, on_grid, margin_mm=model.margin_mm(), spatial_dims=dims)
    if model.needs_mask:
        within, _ = hole_around(mask, model.margin_mm(), scan.spacing)
    return preprocessing.inverse(image, scan, before=sample.image, within=within)


def _on_grid_of(mask: LabelArray, geometry: Geometry, case_id: str) -> LabelArray:
    """Return the lesions of a mask that have a voxel on the model's grid.

    If one class of a lesion has no voxel there, it takes the class of the nearest part that has one, which is the class
    that is drawn.

    Raises:
        CohortError: if the mask has lesions and none of them has a voxel on the grid.
    """
    if not mask.any():
        return mask
    box = ndimage.find_objects((mask > 0).view(np.int8))[0]
    inside, parts = mask[box], np.zeros(mask.shape, np.int32)
    parts[box] = measure.label(inside, connectivity=mask.ndim)
    found = (inside > 0) & np.isin(parts[box], np.unique(geometry.to_model(parts, label=True)))
    if not found.any():
        what = f"its mask falls {between_voxels(geometry.spacing)}"
        raise CohortError(case_id, what, "use larger lesions, or a model that was trained at a finer spacing")
    lesions = measure.label(inside > 0, connectivity=mask.ndim)
    nearest = ndimage.distance_transform_edt(~found, return_distances=False, return_indices=True)
    kept = np.zeros_like(mask)
    kept[box] = np.where(np.isin(lesions, np.unique(lesions[found])), inside[tuple(nearest)], 0)
    return kept


def _shown(label: LabelArray, mask: LabelArray, values: FloatArray, scan: Scan) -> LabelArray:
    """Return a label without the new lesions that the image does not show.

    Args:
        label: ``(x, y[, z])`` old and new lesions.
        mask: ``(x, y[, z])`` requested lesions; all zero for a method that brings its own label.
        values: ``(channel, x, y[, z])`` drawn image in the units of the files.
        scan: the scan that was drawn into.

    Raises:
        CohortError: if there are new lesions and the image shows none of them.
    """
    before = np.zeros_like(label) if scan.label is None else scan.label
    new = mask > 0 if mask.any() else (label != before) & (label > 0)
    lesions, count = ndimage.label(new, np.ones([3] * new.ndim))
    seen = np.unique(lesions[new][_differs(values, scan, new)])
    if count and not len(seen):
        what = "what was drawn into it does not change the image"
        raise CohortError(scan.case.case_id, what, "use other masks, or another method")
    return np.where(new & ~np.isin(lesions, seen), before, label).astype(np.int16)


def _differs(values: FloatArray, scan: Scan, where: BoolArray) -> BoolArray:
    """Return, for each voxel of a mask, whether the stored files will differ; they may store coarse steps."""
    differs = np.zeros(np.count_nonzero(where), bool)
    for name, new, old in zip(scan.channels, values, scan.image, strict=True):
        encoding = read_encoding(scan.case.images[name])
        differs |= encoding.stored(new[where]) != encoding.stored(old[where])
    return differs


def _label_of(drawn: Sample, sample: Sample, scan: Scan, geometry: Geometry) -> LabelArray:
    """Return the scan's label, replaced by the drawn sample's label where drawing changed it."""
    assert drawn.label is not None
    assert sample.label is not None
    assert scan.label is not None
    changed = geometry.to_scan((drawn.label != sample.label).astype(np.int16), label=True) > 0
    return np.where(changed, geometry.to_scan(drawn.label, label=True), scan.label).astype(np.int16)
