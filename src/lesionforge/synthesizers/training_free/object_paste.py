"""``object_paste``: real lesions, varied as objects, pasted at random places without blending.

TumorCP (Yang et al. 2021, MICCAI). A lesion of the same scan and a lesion of another one are each pasted with
probability 0.8. Before, each is scaled, turned, bent, mirrored, changed by a gamma and blurred, each with probability
½; probabilities and ranges are those of the released code. Image and label move together, so the lesion keeps its
texture.

``copy_paste`` with ``masks: edited`` pastes into a given mask: the lesion is stretched to the box of the mask, but
does not turn with it, and its intensities stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage

from lesionforge.cohort.scan import FloatArray, LabelArray, slicing_spacing
from lesionforge.errors import PlacementError
from lesionforge.masks.deformation import one_voxel, random_rotation
from lesionforge.masks.placement import crop_to_lesion
from lesionforge.preprocessing.lesions.lesion_library import CutLesion
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.synthesizers.training_free.library_method import LibraryConfig
from lesionforge.synthesizers.training_free.moved_lesion import MovedLesion, Piece

Range = tuple[float, float]
Points = NDArray[np.float64]


class ObjectPasteConfig(LibraryConfig):
    """Options of ``object_paste``, in addition to those of :class:`LibraryConfig`.

    Attributes:
        own: probability that a lesion of the same scan is pasted.
        others: probability that a lesion of another scan is pasted. If neither is, both are drawn again: what is drawn
            into has a new lesion.
        prob: probability of each of the changes below and of mirroring along random axes.
        scale: range of the voxels of the lesion in a voxel of the result.
        rotation_deg: greatest rotation; in the slice plane if slices are thick, else about any axis.
        elastic_alpha: range of the strength of the elastic deformation, in voxels before smoothing, as in a volume; in
            slices, the displacement is as large as it would be in a volume.
        elastic_sigma: range of the width over which it is smoothed, in voxels.
        gamma: range of the exponent, below and above 1 with equal probability; mean and spread of the lesion stay.
        blur_sigma: range of the width of the blur, in voxels.
    """

    own: float = Field(default=0.8, ge=0, le=1)
    others: float = Field(default=0.8, ge=0, le=1)
    prob: float = Field(default=0.5, ge=0, le=1)
    scale: Range = (0.85, 1.25)
    rotation_deg: float = Field(default=180.0, ge=0, le=180)
    elastic_alpha: Range = (0.0, 900.0)
    elastic_sigma: Range = (9.0, 13.0)
    gamma: Range = (0.7, 1.5)
    blur_sigma: Range = (1.0, 5.0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.own == self.others == 0:
            raise ValueError("own and others are 0: one of them must be above 0, or nothing is pasted")
        for name in ("scale", "elastic_alpha", "elastic_sigma", "gamma", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high or low < 0 or (low == 0 and name != "elastic_alpha"):
                raise ValueError(f"{name} is {low:g} to {high:g}: give two numbers above 0, the smaller first")
        return self


class ObjectPaste(MovedLesion):
    """TumorCP synthesizer; it brings its own label and ignores the given mask.

    A scan without a lesion, or that it was not fitted on, gets a lesion of another scan.
    """

    method = "object_paste"
    Config: ClassVar[type[LibraryConfig]] = ObjectPasteConfig

    def chosen(self, sample: Sample, rng: np.random.Generator) -> Sequence[CutLesion]:
        """Return a lesion of the same scan, of another one, or of each.

        Raises:
            PlacementError: if the options leave no lesion to paste into this scan.
        """
        options = ObjectPasteConfig.model_validate(self.info.config)
        own = [name for name in self.lesions_of if name == sample.case_id]
        others = [name for name in self.lesions_of if name != sample.case_id]
        sources = [(cases, prob) for cases, prob in ((own, options.own), (others, options.others)) if cases and prob]
        if not sources:
            what = "there is no lesion to paste into it"
            raise PlacementError(sample.case_id, what, "fit the method on more cases, or set own and others above 0")
        picked = list[list[str]]()
        while not picked:
            picked = [cases for cases, prob in sources if rng.random() < prob]
        found = [self.lesions_of[cases[int(rng.integers(len(cases)))]] for cases in picked]
        return [lesions[int(rng.integers(len(lesions)))] for lesions in found]

    def piece(self, lesion: CutLesion, sample: Sample, rng: np.random.Generator) -> Piece:
        """Return the lesion, changed at random."""
        options = ObjectPasteConfig.model_validate(self.info.config)
        image, label = moved(lesion, lesion.image_for(sample), sample.spacing, options, rng)
        if rng.random() < options.prob:
            mirror = tuple(slice(None, None, int(step)) for step in rng.choice((-1, 1), label.ndim))
            image, label = image[:, *mirror], label[mirror]
        inside = label > 0
        values = image[:, inside]
        if rng.random() < options.prob:
            values = with_gamma(values, _gamma(options.gamma, rng))
        image = np.zeros_like(image)
        image[:, inside] = values
        if rng.random() < options.prob:
            image = blurred(image, label, rng.uniform(*options.blur_sigma))
        return Piece(image=image, label=label, weight=np.ones(label.shape, np.float32))


def moved(
    lesion: CutLesion, image: FloatArray, spacing: Sequence[float], options: ObjectPasteConfig, rng: np.random.Generator
) -> tuple[FloatArray, LabelArray]:
    """Return image and label of a lesion, scaled, turned and bent, on another spacing; a tight crop.

    The image is interpolated by cubic splines, the label by nearest neighbour.

    Args:
        lesion: the lesion.
        image: ``(channel, x, y[, z])`` intensities of the lesion's crop.
        spacing: millimetres along each axis of the result.
        options: ranges and probabilities.
        rng: source of all randomness.
    """
    (box,) = ndimage.find_objects((lesion.label > 0).view(np.int8))
    whole, steps, source = lesion.label[box], np.array(spacing), np.array(lesion.spacing)
    factor, turn, bend = 1.0, np.eye(whole.ndim), None
    if rng.random() < options.prob:
        factor = 1 / rng.uniform(*options.scale)
    if rng.random() < options.prob:
        slicing = slicing_spacing(spacing, lesion.shape)
        turn = random_rotation(slicing, np.deg2rad(options.rotation_deg), rng)
    if rng.random() < options.prob:
        bend = rng.uniform(*options.elastic_alpha), rng.uniform(*options.elastic_sigma)
    if factor == 1 and bend is None and np.array_equal(turn, np.eye(whole.ndim)) and np.allclose(steps, source):
        return image[:, *box], whole
    extent = np.abs(turn) @ (np.array(whole.shape) * source) * factor / steps
    size = tuple(int(n) for n in np.ceil(extent + (0 if bend is None else 6 * _strength(*bend))))
    grid = np.indices(size).reshape(whole.ndim, -1)
    offset = 0.0 if bend is None else displacement(size, *bend, rng).reshape(whole.ndim, -1)
    points = (grid - (np.array(size)[:, None] - 1) / 2 + offset) * steps[:, None]
    middle = np.array([(part.start + part.stop - 1) / 2 for part in box])
    index = turn.T @ points / factor / source[:, None] + middle[:, None]
    return _sampled(image, lesion.label, index, size)


def _sampled(
    image: FloatArray, label: LabelArray, index: Points, size: tuple[int, ...]
) -> tuple[FloatArray, LabelArray]:
    """Return image and label of a crop at the voxels ``index``, ``(axis, point)``, cropped to the lesion."""
    nearest, limits = np.rint(index).astype(int), np.array(label.shape)[:, None]
    on_crop = np.all((nearest >= 0) & (nearest < limits), axis=0)
    found = np.zeros(index.shape[1], np.int16)
    found[on_crop] = label[tuple(nearest[:, on_crop])]
    inside = found > 0
    if not inside.any():
        mean = image[:, label > 0].mean(1)
        return mean.reshape(-1, *[1] * label.ndim), one_voxel(label)
    values = np.zeros((len(image), index.shape[1]), np.float32)
    for channel, into in zip(image, values, strict=True):
        drawn = ndimage.map_coordinates(channel, index[:, inside], order=3, mode="nearest")
        into[inside] = np.clip(drawn, channel.min(), channel.max())
    tight, corner = crop_to_lesion(found.reshape(size))
    box = tuple(slice(c, c + n) for c, n in zip(corner, tight.shape, strict=True))
    return values.reshape(-1, *size)[:, *box], tight


def _strength(alpha: float, sigma: float) -> float:
    """Return the standard deviation of the displacement in a large volume, in voxels."""
    return float(alpha / np.sqrt(3) * (2 * np.sqrt(np.pi) * sigma) ** -1.5)


def displacement(size: tuple[int, ...], alpha: float, sigma: float, rng: np.random.Generator) -> Points:
    """Return a smooth random displacement ``(axis, x, y[, z])`` in voxels: uniform noise, smoothed, times α.

    In slices, α is scaled so that the displacement is as large as in a volume.
    """
    noise = rng.uniform(-1, 1, (len(size), *size))
    smooth = np.stack([ndimage.gaussian_filter(field, sigma, mode="constant") for field in noise])
    return np.asarray(smooth * alpha * (2 * np.sqrt(np.pi) * sigma) ** ((len(size) - 3) / 2))


def _gamma(limits: Range, rng: np.random.Generator) -> float:
    """Return a gamma, below and above 1 with equal probability where the range has both."""
    low, high = limits
    if low < 1 < high:
        low, high = (low, 1.0) if rng.random() < 0.5 else (1.0, high)
    return float(rng.uniform(low, high))


def with_gamma(values: FloatArray, gamma: float) -> FloatArray:
    """Return ``(channel, voxel)`` intensities raised to ``gamma`` between their extremes, with mean and spread kept."""
    low, span = values.min(1, keepdims=True), np.ptp(values, axis=1, keepdims=True)
    raised = np.divide(values - low, span, out=np.zeros_like(values), where=span > 0) ** gamma
    spread = raised.std(1, keepdims=True)
    wanted = np.divide(values.std(1, keepdims=True), spread, out=np.zeros_like(spread), where=spread > 0)
    changed = (raised - raised.mean(1, keepdims=True)) * wanted + values.mean(1, keepdims=True)
    return np.clip(changed, min(-1, values.min()), max(1, values.max())).astype(np.float32)


def blurred(image: FloatArray, label: LabelArray, sigma: float) -> FloatArray:
    """Return an image blurred within the lesion, without what lies beside it; ``sigma`` is in voxels."""
    inside = (label > 0).astype(np.float32)
    total = np.maximum(ndimage.gaussian_filter(inside, sigma, mode="constant"), 1e-12)
    smooth = [ndimage.gaussian_filter(channel * inside, sigma, mode="constant") / total for channel in image]
    return np.asarray(np.stack(smooth) * inside, np.float32)
