"""A case in nnU-Net's space, and its patches in the space of a synthesizer.

nnU-Net reads a file with its axes reversed, puts the axis with the largest spacing first, crops to what is not 0,
normalises each channel, and resamples; from that it cuts its patches. A synthesizer takes RAS+ axes with slices along
the last one, and a range of intensities that is fitted to the whole scan. So what a patch needs is found once for each
case, in its files: the limits of the range, nnU-Net's normalisation, the region and the fluid in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import blosc2
import numpy as np
from nibabel.orientations import io_orientation
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from skimage.transform import resize

from lesionforge.cohort.scan import FloatArray, LabelArray, Scan
from lesionforge.preprocessing.intensity import Range, tissue_level, to_file, to_model
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.production.nnunet.axes import Axes, axes_of, to_nnunet
from lesionforge.production.nnunet.intensities import Normalisation, normalisation
from lesionforge.production.nnunet.plans import Plans

REGION, FLUID, SLICE = 1, 2, 4
"""Bits of the map that is cut along with each patch. From the third bit on it counts the slices of the first axis."""


@dataclass(frozen=True, kw_only=True)
class CaseSpace:
    """What it takes to draw into the patches of a case.

    Attributes:
        case_id: its case.
        subject_id: its subject.
        axes: how patches turn.
        model: preprocessing of the synthesizer.
        channels: for each channel of the synthesizer, its number in nnU-Net's arrays.
        limits: for each of them, the intensities of the file that map to the ends of the synthesizer's range.
        level: for each of them, the level of typical tissue as a share of that range.
        normalisations: for each of them, nnU-Net's.
        place: compressed int16 map on nnU-Net's grid of the case: region, fluid, and number of the slice.
        heights: relative position, 0 to 1, of each slice along the first axis.
    """

    case_id: str
    subject_id: str
    axes: Axes
    model: Preprocessing
    channels: tuple[int, ...]
    limits: tuple[Range, ...]
    level: tuple[float, ...]
    normalisations: tuple[Normalisation, ...]
    place: Any
    heights: tuple[float, ...]

    def sample(self, patch: FloatArray, seg: LabelArray, place: LabelArray) -> Sample:
        """Return a patch as the synthesizer sees it.

        Args:
            patch: ``(channel, a, b[, c])`` in nnU-Net's space.
            seg: ``(a, b[, c])`` classes; −1 where nnU-Net sees no head.
            place: ``(a, b[, c])`` part of :attr:`place`; −1 beyond the case.
        """
        pairs = zip(self.channels, self.normalisations, self.limits, strict=True)
        clip, output = self.model.intensity.clips, self.model.output
        shown = np.stack([to_model(own.to_file(patch[n]), limits, output, clip=clip) for n, own, limits in pairs])
        inside, last = (seg >= 0) & (place >= 0), int(place.max())
        shown[:, ~inside] = output[0]
        return Sample(
            image=self.axes.to_model(shown),
            label=self.axes.to_model(np.maximum(seg, 0).astype(np.int16)),
            anatomy=None,
            region=self.axes.to_model(inside & (place & REGION > 0)),
            fluid=self.axes.to_model(inside & (place & FLUID > 0)),
            spacing=self.axes.turned_spacing,
            case_id=self.case_id,
            subject_id=self.subject_id,
            height=self.heights[last // SLICE] if last >= 0 else 0.5,
            level=self.level,
        )

    def drawn(self, patch: FloatArray, seg: LabelArray, before: Sample, after: Sample) -> tuple[FloatArray, LabelArray]:
        """Return a patch and its classes with what was drawn; every other voxel keeps its bytes.

        Args:
            patch: as in :meth:`sample`.
            seg: as in :meth:`sample`.
            before: what :meth:`sample` returned.
            after: the same after drawing.
        """
        assert before.label is not None
        assert after.label is not None
        shape, new, classes = seg.shape, patch.copy(), seg.copy()
        changed = self.axes.to_patch(after.image != before.image, shape) & (seg >= 0)
        values, labels = self.axes.to_patch(after.image, shape), self.axes.to_patch(after.label, shape)
        for place, number in enumerate(self.channels):
            touched = changed[place]
            file = to_file(values[place][touched], self.limits[place], self.model.output)
            new[number][touched] = self.normalisations[place].to_nnunet(file)
        relabelled = self.axes.to_patch(after.label != before.label, shape) & (seg >= 0)
        classes[relabelled] = labels[relabelled]
        return new, classes


def case_space(scan: Scan, model: Preprocessing, plans: Plans, properties: Mapping[str, Any]) -> CaseSpace:
    """Find what it takes to draw into the patches of a case.

    Args:
        scan: the case as its files have it, with the synthesizer's channels, its label, region and fluid.
        model: preprocessing of the synthesizer.
        plans: nnU-Net's plans.
        properties: what nnU-Net noted about the case, and ``shape``, the size of the preprocessed array.

    Raises:
        ConfigError: if the synthesizer cannot draw in nnU-Net's space, or the normalisation cannot be undone.
        CohortError: if nnU-Net cuts this case into other slices than those that the synthesizer draws in.
    """
    dims, numbers = len(plans.spacing), tuple(plans.channels.index(name) for name in model.channels)
    read = [properties["spacing"][axis] for axis in plans.transpose]
    axes = axes_of(scan, model, plans.order, (*read[: 3 - dims], *plans.spacing), dims=dims)
    label = np.zeros(scan.spatial_shape, np.int16) if scan.label is None else scan.label
    cropped, seg, _ = crop_to_nonzero(_whole(scan.image, plans), _whole(label[None], plans))
    (low, high), inside = model.output, seg[0] >= 0
    return CaseSpace(
        case_id=scan.case.case_id,
        subject_id=scan.case.subject_id,
        axes=axes,
        model=model,
        channels=numbers,
        limits=tuple(model.limits(scan)),
        level=tuple(tissue_level((channel - low) / (high - low)) for channel in model.normalised(scan)),
        normalisations=tuple(
            normalisation(plans.schemes[n], channel[inside] if plans.masked[n] else channel, plans.facts[n])
            for n, channel in zip(numbers, cropped, strict=True)
        ),
        place=blosc2.asarray(_place(scan, plans, properties)),
        heights=_heights(scan, plans, properties),
    )


def _whole(array: Any, plans: Plans) -> Any:
    """Turn ``([channel,] i, j[, k])`` of a file into nnU-Net's axes; a slice gets a third axis."""
    return to_nnunet(array if array.ndim == 4 else array[..., None], plans.order)


def _place(scan: Scan, plans: Plans, properties: Mapping[str, Any]) -> LabelArray:
    """Return region and fluid on nnU-Net's grid of the case, with the number of each slice."""
    assert scan.region is not None
    fluid = np.zeros_like(scan.region) if scan.fluid is None else scan.fluid
    found = _whole((scan.region * REGION + fluid * FLUID).astype(np.uint8)[None], plans)[0]
    box, shape = properties["bbox_used_for_cropping"], tuple(properties["shape"])
    cropped = found[tuple(slice(*ends) for ends in box)]
    own = resize(cropped, shape, order=0, preserve_range=True, anti_aliasing=False).astype(np.int16)
    if len(plans.spacing) == 2:
        own += SLICE * np.arange(shape[0], dtype=np.int16)[:, None, None]
    return own


def _heights(scan: Scan, plans: Plans, properties: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the relative position of each slice along the first axis, towards the right, the front or the top."""
    if scan.spatial_dims == 2 or len(plans.spacing) == 3:
        return (scan.height,) * int(properties["shape"][0])
    start, count = properties["bbox_used_for_cropping"][0][0], properties["shape_before_cropping"][0]
    along: Sequence[float] = [(start + number + 0.5) / count for number in range(properties["shape"][0])]
    forward = io_orientation(scan.affine)[plans.order.index(0), 1] > 0
    return tuple(along) if forward else tuple(1 - height for height in along)
