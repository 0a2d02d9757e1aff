"""What each score is called, measured in, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lesionforge.errors import ConfigError

EMPTY_MASK_RULE = (
    "Dice and lesion F1: 1 where truth and prediction are both empty, 0 where one of them is. "
    "HD95: no value where one of them is or both are; reports count where nothing was found. "
    "Dice of cases with lesions and lesion sensitivity have no value without a true lesion, lesion precision none "
    "without a predicted one, false alarms none with a true one."
)
HIT_RULE = (
    "Lesions are connected components (26 neighbours in 3D, 8 in 2D) of all lesion classes together. A true lesion is "
    "found if one voxel of it is predicted; a predicted lesion is false if none of its voxels is true (as in ATLAS and "
    "ISLES). F1 = 2·TP / (2·TP + FP + FN), where TP counts true lesions that are found."
)


@dataclass(frozen=True, kw_only=True)
class ScoreInfo:
    """How a score is read.

    Attributes:
        title: its name in tables and figures.
        unit: the unit it is shown in; ``"points"`` are hundredths of a score between 0 and 1.
        higher_is_better: ``None`` where neither way is better, as for a signed difference.
        description: what it measures, in one line.
    """

    title: str
    unit: str
    higher_is_better: bool | None
    description: str

    @property
    def factor(self) -> float:
        """What a value in ``results.csv`` is multiplied with to be shown in :attr:`unit`."""
        return 100.0 if self.unit == "points" else 1.0


SCORES: Mapping[str, ScoreInfo] = MappingProxyType(
    {
        "dice": ScoreInfo(
            title="Dice", unit="points", higher_is_better=True, description="overlap 2·|P∩T| / (|P|+|T|), per case"
        ),
        "lesion_dice": ScoreInfo(
            title="Dice of cases with lesions",
            unit="points",
            higher_is_better=True,
            description="Dice, without the lesion-free cases, where one false voxel makes 0 of 1",
        ),
        "image_dice": ScoreInfo(
            title="Dice per image",
            unit="points",
            higher_is_better=True,
            description="Dice of all classes together, a wrong class counting as wrong; mean over slices with a lesion",
        ),
        "hd95": ScoreInfo(
            title="HD95",
            unit="mm",
            higher_is_better=False,
            description="the larger of the two directed 95th percentiles of the surface distances (MONAI), where "
            "truth and prediction both have a lesion",
        ),
        "lesion_sensitivity": ScoreInfo(
            title="Lesion sensitivity", unit="points", higher_is_better=True, description="true lesions that are found"
        ),
        "lesion_precision": ScoreInfo(
            title="Lesion precision",
            unit="points",
            higher_is_better=True,
            description="predicted lesions that touch a true one",
        ),
        "lesion_f1": ScoreInfo(
            title="Lesion F1", unit="points", higher_is_better=True, description="2·TP / (2·TP + FP + FN) over lesions"
        ),
        "false_alarm": ScoreInfo(
            title="False-alarm rate",
            unit="points",
            higher_is_better=False,
            description="share of the lesion-free cases in which a lesion is predicted",
        ),
        "volume_difference_ml": ScoreInfo(
            title="Volume difference",
            unit="ml",
            higher_is_better=None,
            description="predicted minus true lesion volume",
        ),
        "absolute_volume_difference_ml": ScoreInfo(
            title="Absolute volume difference",
            unit="ml",
            higher_is_better=False,
            description="size of the volume difference",
        ),
        "false_positive_ml": ScoreInfo(
            title="False-positive volume",
            unit="ml",
            higher_is_better=False,
            description="predicted lesion volume in lesion-free cases only",
        ),
        "area_difference_mm2": ScoreInfo(
            title="Area difference", unit="mm²", higher_is_better=None, description="predicted minus true lesion area"
        ),
        "absolute_area_difference_mm2": ScoreInfo(
            title="Absolute area difference",
            unit="mm²",
            higher_is_better=False,
            description="size of the area difference",
        ),
        "false_positive_mm2": ScoreInfo(
            title="False-positive area",
            unit="mm²",
            higher_is_better=False,
            description="predicted lesion area in lesion-free slices only",
        ),
    }
)

HEALED_SCORES: Mapping[str, ScoreInfo] = MappingProxyType(
    {
        "identity_beside": ScoreInfo(
            title="Identity beside the lesion",
            unit="points",
            higher_is_better=True,
            description="MS-SSIM of 3 scales over windows that show the head and nothing of the lesion",
        ),
        "identity": ScoreInfo(
            title="Identity",
            unit="points",
            higher_is_better=True,
            description="masked MS-SSIM of 5 scales, as published; rises with the size of the lesion",
        ),
        "identity_4": ScoreInfo(
            title="Identity, 4 scales", unit="points", higher_is_better=True, description="masked MS-SSIM of 4 scales"
        ),
        "healthiness": ScoreInfo(
            title="Healthiness",
            unit="points",
            higher_is_better=True,
            description="1 − lesion that a segmentation network still finds / true lesion",
        ),
        "change_outside": ScoreInfo(
            title="Change outside the lesion",
            unit="points",
            higher_is_better=False,
            description="mean absolute difference in the head beside the lesion, of the range of intensities",
        ),
        "change_lesion_free": ScoreInfo(
            title="Change of lesion-free slices",
            unit="points",
            higher_is_better=False,
            description="the same in slices that show no lesion",
        ),
        "displacement_mm": ScoreInfo(
            title="Displacement",
            unit="mm",
            higher_is_better=False,
            description="between the true lesion and the one that the reconstruction draws, in the slice",
        ),
        "map_dice": ScoreInfo(
            title="Dice of the lesion map",
            unit="points",
            higher_is_better=True,
            description="overlap of the lesion that the method itself finds with the true one, per case",
        ),
    }
)
"""Of scans whose lesions were removed, see :mod:`lesionforge.scores.healed_scans.healed`."""

QUALITY_SCORES: Mapping[str, ScoreInfo] = MappingProxyType(
    {
        "fcn_score": ScoreInfo(
            title="FCN score",
            unit="points",
            higher_is_better=True,
            description="Dice of a segmentation network with the mask that was drawn, mean over its classes",
        ),
        "laplacian_variance": ScoreInfo(
            title="Laplacian variance",
            unit="",
            higher_is_better=True,
            description="sharpness within the head, intensities from 0 to 1; noise raises it, too",
        ),
        "spectrum_mean": ScoreInfo(
            title="Mean of the spectrum",
            unit="",
            higher_is_better=None,
            description="follows brightness and contrast, so it is no measure of blur",
        ),
        "mean_frequency": ScoreInfo(
            title="Mean frequency",
            unit="cycles per pixel",
            higher_is_better=True,
            description="of the spectrum, weighted by magnitude: sharpness, or noise, whatever the contrast",
        ),
        "realism": ScoreInfo(
            title="Realism",
            unit="points",
            higher_is_better=True,
            description="mean probability of being real, by a classifier of real and drawn slices of other subjects",
        ),
        "called_real_50": ScoreInfo(
            title="Called real at 50 %",
            unit="points",
            higher_is_better=True,
            description="share of images that this classifier calls real",
        ),
        "called_real_10": ScoreInfo(
            title="Called real at 10 %",
            unit="points",
            higher_is_better=True,
            description="the same where a probability of 10 % is enough",
        ),
    }
)
"""Of drawn images, see :mod:`lesionforge.scores.drawn_images.quality`."""

PER_CLASS_SCORES = ("dice", "image_dice", "hd95")


def score_info(name: str) -> ScoreInfo:
    """Return what is known about a score, also about one of a single class such as ``dice_oedema``.

    Raises:
        ConfigError: if there is no such score.
    """
    for known in (SCORES, HEALED_SCORES, QUALITY_SCORES):
        if name in known:
            return known[name]
    for score in PER_CLASS_SCORES:
        if name.startswith(f"{score}_"):
            lesion_class = name.removeprefix(f"{score}_")
            info = SCORES[score]
            return replace(
                info, title=f"{info.title} of {lesion_class}", description=f"{info.description}; {lesion_class} alone"
            )
    raise ConfigError(name, "is not a score", f"choose from {', '.join(SCORES)}")


def is_score(name: str) -> bool:
    """Return whether a column of ``results.csv`` is a score."""
    return name in SCORES or name.startswith(tuple(f"{score}_" for score in PER_CLASS_SCORES))
