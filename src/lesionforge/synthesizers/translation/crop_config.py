"""Options of methods that train on crops and draw from a condition, and the condition built from them."""

from __future__ import annotations

from math import lcm
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import nn

from lesionforge.config import Distance, RoiSize, ScanConfig
from lesionforge.synthesizers.translation.conditions import Condition, ConditionName, LesionIntensity
from lesionforge.training.callbacks.candidates import CandidateUnit
from lesionforge.training.model_folder import ModelInfo


class CropConfig(ScanConfig):
    """Options of methods that train on crops and draw from a condition.

    Attributes:
        condition: ``label`` (draws the image from the label map), ``scan`` (from the scan with its lesion smoothed
            away) or ``inpaint`` (fills a hole around the lesion).
        spatial_dims: 2 or 3.
        roi_size: size in voxels of training crops. Each side must be a multiple of the product of its axis' strides.
            ``None`` takes the fingerprint's crop size; for label maps in 2D, whole slices.
        margin_mm: distance in millimetres by which the erased hole (``inpaint``) or the blended edge extends beyond the
            mask. For ``inpaint``, a range such as ``[2, 8]`` draws the distance anew for each training crop and each
            drawing; a number is varied by a quarter in training.
        fade_mm: distance in millimetres over which the drawn hole fades into the scan at its rim (``inpaint``), or a
            range; ``None`` for the whole margin.
        lesion_intensity: whether the networks see the lesion's mean intensity (``scan`` and ``inpaint``). A new lesion
            gets the intensity of a random training crop, relative to its surroundings. ``quantiles`` shows the 10, 50
            and 90 % quantiles in place of the mean.
        lesion_contrast: where a new lesion's intensity comes from: ``crop``, a random training crop; ``normal``, a
            normal distribution of the logarithm of the contrasts of training crops, about their mean and 1.5 times as
            spread, cut 20 % beyond the greatest and the least of them.
        healthy_holes: fraction of the training crops in which a hole of a real lesion's shape lies where there is no
            lesion, and is filled with healthy tissue (``inpaint``); fewer, where a hole does not fit. Such a generator
            can draw negatives.
        mimics: share of the negatives that are mimics, 0 to 1: drawn as lesions are, but with less contrast than 95 %
            of the training crops, and not labelled; the others are filled with healthy tissue (``inpaint``).
        augment: augmentation of training crops: ``true`` flips, rotates and scales; ``affine`` is the augmentation of
            the stroke system, see :func:`~lesionforge.augmentation.affine.affine_augmentation`; ``ct_published`` is
            that of the segmentation in the paper on haemorrhage CT, see
            :func:`~lesionforge.augmentation.head_ct.published_ct_augmentation`.
        intensity_variation: whether to vary the gamma (e^±0.3) and the scale (0.85 to 1.15) of whole training crops, in
            each channel, so that a generator of few patients sees other scanners (``scan`` and ``inpaint``).
        mirror: whether to mirror left and right in half of the training crops.
        jitter: whether to enlarge training crops by 286/256 and crop them back at a random position.
        lesion_share: fraction of the training crops that show a lesion, for ``label``; with 1, lesion-free slices and
            scans are not used.
        candidates: epochs (or steps, see ``candidates_in``) after which the generator is kept in ``candidates/``.
            Training then ends with the last of them, whatever the number of steps. An epoch has as many training crops
            as there are slices (3D: scans) to cut them from.
        candidates_in: unit of ``candidates``: ``epochs``, or optimiser ``steps``, with which generators of few and of
            many cases train equally long.
    """

    condition: ConditionName = "inpaint"
    spatial_dims: Literal[2, 3] = 2
    roi_size: RoiSize | None = None
    margin_mm: Distance = 6.0
    fade_mm: Distance | None = None
    lesion_intensity: LesionIntensity = True
    lesion_contrast: Literal["crop", "normal"] = "crop"
    healthy_holes: float = Field(default=0.0, ge=0, lt=1)
    mimics: float = Field(default=0.0, ge=0, le=1)
    augment: bool | Literal["affine", "ct_published"] = True
    intensity_variation: bool = False
    mirror: bool = False
    jitter: bool = False
    lesion_share: float = Field(default=0.5, ge=0, le=1)
    candidates: tuple[PositiveInt, ...] = ()
    candidates_in: CandidateUnit = "epochs"

    @model_validator(mode="after")
    def _fit_the_condition(self) -> Self:
        of_hole = {
            "a range of margin_mm": isinstance(self.margin_mm, tuple),
            "fade_mm": self.fade_mm is not None,
            "healthy_holes": self.healthy_holes > 0,
            "mimics": self.mimics > 0,
        }
        of_scan = {
            "lesion_intensity=quantiles": self.lesion_intensity == "quantiles",
            "lesion_contrast=normal": self.lesion_contrast == "normal",
            "intensity_variation": self.intensity_variation,
        }
        for conditions, options in ((("inpaint",), of_hole), (("scan", "inpaint"), of_scan)):
            given = [name for name, is_given in options.items() if is_given]
            if given and self.condition not in conditions:
                needed = " or ".join(conditions)
                raise ValueError(f"{given[0]} needs condition={needed}, not {self.condition}: leave one of them out")
        if self.lesion_contrast == "normal" and not self.lesion_intensity:
            raise ValueError("lesion_contrast=normal has no effect without lesion_intensity: leave one out")
        if self.mimics and not self.lesion_intensity:
            raise ValueError("mimics are lesions of little contrast, which lesion_intensity sets: leave one out")
        if 0 < self.mimics < 1 and not self.healthy_holes:
            raise ValueError("the negatives that are not mimics need healthy_holes: set it, as 0.2, or mimics=1")
        return self

    @property
    def draws_negatives(self) -> bool:
        """Whether the generator can draw what is not labelled as a lesion."""
        return self.healthy_holes > 0 or self.mimics == 1

    @property
    def divisors(self) -> tuple[int, ...]:
        """Numbers that the sides of the generator's input must be multiples of, along each axis."""
        raise NotImplementedError

    @property
    def divisor(self) -> int:
        """The least common multiple of :attr:`divisors`."""
        return lcm(*self.divisors)

    @property
    def smallest(self) -> int:
        """Smallest side of a network's input, in voxels."""
        return self.divisor

    @property
    def whole_slices(self) -> bool:
        """Whether 2D training items are whole slices by default; they are for label maps."""
        return self.condition == "label"

    @property
    def lesions_only(self) -> bool:
        """Whether every training crop lies around a lesion."""
        return self.condition != "label" or self.lesion_share == 1

    def noise(self, image_channels: int) -> int:
        """Return the number of noise channels in the condition of scans with so many channels."""
        raise NotImplementedError

    def generator(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the generator for these options."""
        raise NotImplementedError


def condition_of(config: CropConfig, info: ModelInfo) -> Condition:
    """Return the condition for these options and the model's channels and classes."""
    return Condition(
        name=config.condition,
        image_channels=len(info.preprocessing.channels),
        classes=info.classes,
        anatomy=info.anatomy,
        noise_channels=config.noise(len(info.preprocessing.channels)),
        lesion_intensity=False if config.condition == "label" else config.lesion_intensity,
    )
