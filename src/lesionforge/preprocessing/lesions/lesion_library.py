"""Real lesions cut out with their surroundings, which training-free methods store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage
from skimage.transform import resize
from torch import Tensor

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.preprocessing.lesions.single_lesions import split_lesions
from lesionforge.preprocessing.pipeline import Sample

THUMBNAIL = 12


@dataclass(frozen=True, kw_only=True)
class CutLesion:
    """All lesions of one sample, with context around them.

    Attributes:
        image: ``(channel, x, y[, z])`` crop, in the model's range.
        label: ``(x, y[, z])`` crop.
        distance: signed distance to the lesion's edge in mm, negative inside.
        start: first voxel of the crop in its sample.
        shape: size of its sample.
        spacing: mm.
        height: see :class:`Sample`.
        level: see :class:`Sample`.
        case: index of its case among the training cases.
        thumbnail: the shape of the lesion, stretched to a small cube.
    """

    image: FloatArray
    label: LabelArray
    distance: FloatArray
    start: tuple[int, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    height: float
    level: tuple[float, ...]
    case: int
    thumbnail: BoolArray

    @cached_property
    def volume(self) -> float:
        """Volume in mm³ (mm² in 2D)."""
        return float(np.count_nonzero(self.label) * np.prod(self.spacing))

    @property
    def depth(self) -> float:
        """Distance of the innermost voxel from the edge, in mm."""
        return float(-self.distance.min())

    def image_for(self, sample: Sample) -> FloatArray:
        """Return the image scaled to the tissue level of a sample, if both levels are known.

        The result stays between −1 and 1, or between the extremes of the image if they lie beyond.
        """
        if not (self.level and sample.level):
            return self.image
        ratio = np.divide(sample.level, self.level, dtype=np.float32).reshape(-1, *[1] * self.label.ndim)
        return np.clip((self.image + 1) * ratio - 1, min(-1, self.image.min()), max(1, self.image.max()))


def cut_lesion(sample: Sample, case: int, *, context_mm: float) -> CutLesion:
    """Cut out the lesions of a sample with context as wide as their depth, or ``context_mm`` if that is wider."""
    assert sample.label is not None
    inside = sample.label > 0
    box = _with_context(inside, sample.spacing, context_mm)
    return make_lesion(
        sample.image[(slice(None), *box)].copy(),
        sample.label[box].copy(),
        start=tuple(s.start for s in box),
        shape=inside.shape,
        spacing=sample.spacing,
        height=sample.height,
        level=sample.level,
        case=case,
    )


def one_by_one(lesions: CutLesion, *, context_mm: float) -> list[CutLesion]:
    """Return each lesion of a crop by itself; see :func:`split_lesions`.

    The voxels of the other lesions take the intensity of the nearest voxel that is no lesion.
    """
    found = split_lesions(lesions.label, lesions.spacing)
    if len(found) == 1:
        return [lesions]
    tissue, single = spread(lesions.image, lesions.label == 0, lesions.spacing), []
    for lesion, corner in found:
        label = np.zeros_like(lesions.label)
        label[tuple(slice(c, c + n) for c, n in zip(corner, lesion.shape, strict=True))] = lesion
        box = _with_context(label > 0, lesions.spacing, context_mm)
        other = (lesions.label[box] > 0) & (label[box] == 0)
        cut = make_lesion(
            np.where(other, tissue[(slice(None), *box)], lesions.image[(slice(None), *box)]),
            label[box],
            start=tuple(first + s.start for first, s in zip(lesions.start, box, strict=True)),
            shape=lesions.shape,
            spacing=lesions.spacing,
            height=lesions.height,
            level=lesions.level,
            case=lesions.case,
        )
        single.append(cut)
    return single


def spread(image: FloatArray, known: BoolArray, spacing: tuple[float, ...]) -> FloatArray:
    """Return ``image`` with unknown voxels replaced by the nearest known voxel; unchanged if none is known."""
    if not known.any():
        return image
    nearest = ndimage.distance_transform_edt(~known, sampling=spacing, return_distances=False, return_indices=True)
    return np.asarray(image[:, *nearest])


def _with_context(inside: BoolArray, spacing: tuple[float, ...], context_mm: float) -> tuple[slice, ...]:
    """Return the box of a lesion with context as wide as its depth, or ``context_mm`` if that is wider.

    Distances are computed only in the crop, which holds every voxel that is needed.
    """
    (tight,) = ndimage.find_objects(inside.view(np.int8))
    around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in tight)
    depth = float(ndimage.distance_transform_edt(inside[around], sampling=spacing).max())
    reach = [int(np.ceil(max(depth, context_mm) / step)) + 1 for step in spacing]
    return tuple(
        slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in zip(tight, reach, inside.shape, strict=True)
    )


def make_lesion(
    image: FloatArray,
    label: LabelArray,
    *,
    start: tuple[int, ...],
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    height: float,
    level: tuple[float, ...],
    case: int,
) -> CutLesion:
    """Complete a crop with its signed distance and thumbnail."""
    return CutLesion(
        image=image,
        label=label,
        distance=signed_distance(label > 0, spacing),
        start=start,
        shape=shape,
        spacing=spacing,
        height=height,
        level=level,
        case=case,
        thumbnail=shape_thumbnail(label > 0),
    )


def signed_distance(inside: BoolArray, spacing: tuple[float, ...]) -> FloatArray:
    """Return the distance to the edge in mm: negative inside, positive outside.

    The nearest voxel outside lies at most one voxel beyond the bounding box, so the inner part is computed only there.
    """
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
    (tight,) = ndimage.find_objects(inside.view(np.int8))
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in tight)
    distance[box] -= ndimage.distance_transform_edt(inside[box], sampling=spacing)
    return np.asarray(distance, np.float32)


def shape_thumbnail(inside: BoolArray) -> BoolArray:
    """Return the bounding box of ``inside`` stretched to a small cube."""
    (box,) = ndimage.find_objects(inside.view(np.int8))
    return np.asarray(resize(inside[box].astype(np.float32), (THUMBNAIL,) * inside.ndim, order=1) > 0.5)


def build_library(samples: Iterable[Sample], *, slices: bool, context_mm: float) -> list[CutLesion]:
    """Cut out the lesions of all samples, or of each of their slices that has a lesion."""
    lesions = []
    for case, sample in enumerate(samples):
        assert sample.label is not None
        if slices and sample.label.ndim == 3:
            parts = [sample.slice(int(z)) for z in np.flatnonzero(sample.label.any(axis=(0, 1)))]
        else:
            parts = [sample]
        lesions += [cut_lesion(part, case, context_mm=context_mm) for part in parts]
    return lesions


def library_tensors(lesions: list[CutLesion]) -> dict[str, Tensor]:
    """Return the library as tensors for ``model.safetensors``."""
    tensors = {}
    for number, lesion in enumerate(lesions):
        place = [*lesion.start, *lesion.shape, lesion.case]
        tensors[f"{number:05d}.image"] = torch.from_numpy(lesion.image)
        tensors[f"{number:05d}.label"] = torch.from_numpy(lesion.label)
        tensors[f"{number:05d}.place"] = torch.tensor(place)
        tensors[f"{number:05d}.scale"] = torch.tensor(
            [*lesion.spacing, lesion.height, *lesion.level], dtype=torch.float64
        )
    return tensors


def library_from_tensors(tensors: dict[str, Tensor]) -> list[CutLesion]:
    """Return the library from the tensors of :func:`library_tensors`.

    Raises:
        ValueError: if image and label of a lesion differ in size.
    """
    lesions = []
    for number in range(len(tensors) // 4):
        image, label, place, scale = (
            tensors[f"{number:05d}.{part}"].numpy() for part in ("image", "label", "place", "scale")
        )
        dims = label.ndim
        if image.shape[1:] != label.shape:
            raise ValueError(f"the image of lesion {number} has another size than its label")
        lesions.append(
            make_lesion(
                image,
                label,
                start=tuple(int(v) for v in place[:dims]),
                shape=tuple(int(v) for v in place[dims : 2 * dims]),
                spacing=tuple(float(v) for v in scale[:dims]),
                height=float(scale[dims]),
                level=tuple(float(v) for v in scale[dims + 1 :]),
                case=int(place[2 * dims]),
            )
        )
    return lesions
