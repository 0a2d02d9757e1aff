"""A lesion drawn into one scan, brought back onto the scan's own grid and units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan
from lesionforge.preprocessing.geometry import Geometry
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.blend import Blend, blend_lesion
from lesionforge.synthesizers.conditions import hole_around


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A scan with a lesion drawn into it.

    Attributes:
        image: ``(channel, x, y[, z])`` in the units of the files.
        touched: ``(x, y[, z])`` voxels at which it differs from the scan.
        label: ``(x, y[, z])`` old and new lesions.
    """

    image: FloatArray
    touched: BoolArray
    label: LabelArray


def draw_into(
    model: Synthesizer, scan: Scan, sample: Sample, mask: LabelArray, rng: np.random.Generator, *, blend: Blend
) -> Drawing:
    """Draw one lesion into one scan.

    Args:
        model: the synthesizer.
        scan: with exactly the model's channels.
        sample: the scan in the model's space.
        mask: ``(x, y[, z])`` on the scan's grid; all zero for a method that brings its own label.
        rng: all randomness comes from it.
        blend: ``"lesion"`` keeps the scan outside the mask and its margin; ``"full"`` takes the whole drawn image, as
            is always done of a method that draws it with a label of its own.
    """
    preprocessing = model.info.preprocessing
    on_grid = preprocessing.geometry(scan).to_model(mask, label=True)
    drawn = model.synthesize(sample, on_grid, rng)
    image, within = drawn.image, None
    label = np.where(mask > 0, mask, 0 if scan.label is None else scan.label).astype(np.int16)
    if not model.needs_mask:
        label = _label_of(drawn, sample, scan, preprocessing.geometry(scan))
    if blend == "full" or (model.draws_whole_image and not model.needs_mask):
        values, touched = preprocessing.replace(image, scan)
        return Drawing(image=values, touched=touched, label=label)
    if model.draws_whole_image:
        dims = preprocessing.spatial_dims
        image = blend_lesion(sample, image, on_grid, margin_mm=model.margin_mm(), spatial_dims=dims)
    if model.needs_mask:
        within, _ = hole_around(mask, model.margin_mm(), scan.spacing)
    values, touched = preprocessing.inverse(image, scan, within=within)
    return Drawing(image=values, touched=touched, label=label)


def _label_of(drawn: Sample, sample: Sample, scan: Scan, geometry: Geometry) -> LabelArray:
    """Return the scan's label, with that of the drawn sample wherever drawing changed it."""
    assert drawn.label is not None
    assert sample.label is not None
    assert scan.label is not None
    changed = geometry.to_scan((drawn.label != sample.label).astype(np.int16), label=True) > 0
    return np.where(changed, geometry.to_scan(drawn.label, label=True), scan.label).astype(np.int16)
