"""Synthesis during training: MONAI dictionary transforms.

The transforms take items in the synthesizer's model space, ``{"image": (channel, x, y[, z]), "label": (1, x, y[,
z])}``, with ``spacing`` (mm) and, if known, ``region`` (in which lesions lie), ``fluid`` (where in it none may lie),
``case_id`` and ``height``. Find region and fluid in the scan itself, before its intensities are clipped. Arrays keep
their type and data type. Randomness is MONAI's: call ``set_random_state`` on the transforms or on the ``Compose`` that
holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type

from lesionforge.cohort.scan import BoolArray, LabelArray
from lesionforge.errors import PlacementError
from lesionforge.masks.base import MaskSource
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.production.blend import blend_lesion
from lesionforge.production.displacement import check_displacement, displace
from lesionforge.synthesizers.base import Synthesizer, without_negatives

KEYS = ("image", "label")


class SynthesizeLesiond(RandomizableTransform, MapTransform):
    """Draws a lesion into the image with probability ``prob`` and adds it to the label.

    An item stays as it is if no mask fits.

    Args:
        model: a fitted synthesizer; its margin around the mask is blended with the image.
        masks: source of the lesion masks, with as many dimensions as the items.
        prob: probability for each item.
        min_volume: least volume of a placed mask, in mm³ (mm² in 2D); by default the source's own, see
            :meth:`~lesionforge.masks.base.MaskSource.least_volume`.
        max_redraws: number of further masks to try if the first does not fit.
        negatives: probability that healthy tissue, or a mimic, is drawn in the place of the lesion, so that the seam of
            a drawing does not tell of a lesion. If it is not 0, each item also gets ``negative``, 1 in such a place and
            0 elsewhere, of the size of the label.
        displacement: greatest distance in mm, 0 to 3, by which the tissue around a drawing is pushed away from it, as a
            simple mass effect; lesions and label stay as they are.

    Raises:
        ConfigError: if the model cannot draw negatives, or the displacement is out of range.
    """

    def __init__(
        self,
        model: Synthesizer,
        masks: MaskSource,
        *,
        prob: float = 0.5,
        min_volume: float | None = None,
        max_redraws: int = 10,
        negatives: float = 0.0,
        displacement: float = 0.0,
    ) -> None:
        MapTransform.__init__(self, KEYS)
        RandomizableTransform.__init__(self, prob)
        self.model, self.masks = model, masks
        self.min_volume, self.max_redraws, self.negatives = min_volume, max_redraws, negatives
        self.displacement = displacement
        check_displacement(displacement, needs_mask=model.needs_mask)
        if negatives and not model.draws_negatives:
            raise without_negatives(model.method)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item, with a new image and label if a lesion was drawn."""
        self.randomize(None)
        item = self._marked(data, np.zeros(data["label"].shape, bool))
        if not self._do_transform:
            return item
        rng = np.random.default_rng(self.R.randint(2**32, dtype=np.uint32))
        sample = Sample.from_item(data)
        try:
            placed = self.masks.sample(sample.as_scan(), rng, min_volume=self.min_volume, max_redraws=self.max_redraws)
        except PlacementError:
            return item
        if self.negatives and rng.random() < self.negatives:
            redrawn = self._displaced(self.model.redraw_healthy(sample, placed.mask, rng), placed.mask, rng)
            return self._marked(_replaced(data, redrawn), placed.mask[None] > 0)
        drawn = self.model.synthesize(sample, placed.mask, rng)
        if self.model.draws_whole_image:
            margin, dims = self.model.margin_mm(), self.model.info.preprocessing.spatial_dims
            image = blend_lesion(sample, drawn.image, placed.mask, margin_mm=margin, spatial_dims=dims)
            drawn = replace(drawn, image=image)
        return _replaced(item, self._displaced(drawn, placed.mask, rng))

    def _displaced(self, drawn: Sample, mask: LabelArray, rng: np.random.Generator) -> Sample:
        """Return a sample with the tissue around its drawing displaced, if it is to be."""
        if not self.displacement or drawn.label is None:
            return drawn
        image, _ = displace(
            drawn.image,
            drawn.label,
            mask,
            find_region(drawn.as_scan()),
            drawn.spacing,
            rng,
            most_mm=self.displacement,
            margin_mm=self.model.margin_mm(),
        )
        return replace(drawn, image=image)

    def _marked(self, data: Mapping[str, Any], negative: BoolArray) -> dict[str, Any]:
        """Return the item with the place of a negative, if there may be one."""
        if not self.negatives:
            return dict(data)
        return {**data, "negative": convert_to_dst_type(negative, data["label"])[0]}


class CarveMixd(RandomizableTransform, MapTransform):
    """Mixes a region of a training case into image and label with probability ``prob``.

    Args:
        model: a fitted synthesizer that brings its own label (``needs_mask`` is false), such as
            :class:`~lesionforge.synthesizers.training_free.carvemix.CarveMix`.
        prob: probability for each item.
    """

    def __init__(self, model: Synthesizer, *, prob: float = 0.5) -> None:
        MapTransform.__init__(self, KEYS)
        RandomizableTransform.__init__(self, prob)
        self.model = model

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item, with a new image and label if a region was mixed in.

        An item stays as it is if the model finds no place in it.
        """
        self.randomize(None)
        if not self._do_transform:
            return dict(data)
        rng = np.random.default_rng(self.R.randint(2**32, dtype=np.uint32))
        sample = Sample.from_item(data)
        assert sample.label is not None
        try:
            drawn = self.model.synthesize(sample, np.zeros_like(sample.label), rng)
        except PlacementError:
            return dict(data)
        return _replaced(data, drawn)


def _replaced(data: Mapping[str, Any], drawn: Sample) -> dict[str, Any]:
    assert drawn.label is not None
    new = {"image": drawn.image, "label": drawn.label[None]}
    return {**data, **{key: convert_to_dst_type(value, data[key])[0] for key, value in new.items()}}
