"""nnU-Net's trainer, with lesions drawn into the training patches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.errors import ConfigError, ModelError
from lesionforge.production.nnunet import EPOCHS, MODEL, PROB
from lesionforge.production.nnunet.on_patches import DrawLesions, PlacedCases, case_spaces, drawing_transform
from lesionforge.production.nnunet.plans import Plans
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_synthesizer


class nnUNetTrainerLesionforge(nnUNetTrainer):
    """nnU-Net's own trainer, but a lesion is drawn into each training patch with some probability.

    The environment variable ``LESIONFORGE_MODEL`` names the folder of a synthesizer, ``LESIONFORGE_PROB`` the
    probability (0.5 by default). With 0 nothing is changed, and no model is needed. Otherwise the raw dataset must lie
    in ``nnUNet_raw``, since the synthesizer's range of intensities and the brain are found in the files. Lesions are
    drawn on the CPU, before nnU-Net's augmentation. Patches of the validation stay as they are.
    ``LESIONFORGE_EPOCHS`` sets the number of epochs (nnU-Net's own by default).
    """

    placed: PlacedCases | None = None
    num_epochs: int

    def initialize(self) -> None:
        """Build what training needs, for the number of epochs that the environment gives.

        Raises:
            ConfigError: if it is no whole number from 1.
        """
        self.num_epochs = epochs(self.num_epochs)
        super().initialize()

    def get_training_transforms(self, *args: Any, **options: Any) -> Any:
        """Return nnU-Net's transforms, after the one that draws.

        Raises:
            ConfigError: if the environment names no model, or the model cannot draw in nnU-Net's space.
            ModelError: if it has other channels or classes than the dataset, or cannot draw into patches.
            LeakError: if a case of the validation fold is behind the model or the training cases.
        """
        own, prob = super().get_training_transforms(*args, **options), probability()
        if prob == 0:
            return own
        if self.is_cascaded:
            raise ConfigError("nnU-Net", f"{self.configuration_name} has two stages", "train 2d or 3d_fullres")
        model, cohort = load_synthesizer(model_folder(), device="cpu"), raw_cohort(self.plans_manager.dataset_name)
        check_fits(model, cohort)
        cases, held_out = super().get_tr_and_val_datasets()
        train = cohort.subset(cases.identifiers)
        if self.fold != "all":
            fitted = {"the model": model.info.training_subjects}
            check_no_leak(train, cohort.subset(held_out.identifiers), models=fitted)
        self.placed = PlacedCases(cases, case_spaces(cases, train, model, Plans.of(self)))
        draw = DrawLesions(drawing_transform(model, train), self.placed, prob=prob)
        self.print_to_log_file(f"lesions of {model_folder()} are drawn with probability {prob}")
        return ComposeTransforms([draw, own])

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Return nnU-Net's datasets; that of the training brings along where lesions may lie."""
        train, held_out = super().get_tr_and_val_datasets()
        return (train if self.placed is None else self.placed), held_out


def probability() -> float:
    """Return the probability of a lesion that the environment gives.

    Raises:
        ConfigError: if it is no number from 0 to 1.
    """
    text = os.environ.get(PROB, "0.5")
    try:
        prob = float(text)
    except ValueError:
        prob = -1.0
    if not 0 <= prob <= 1:
        raise ConfigError(PROB, f"{text!r} is no probability", "give a number from 0 to 1")
    return prob


def epochs(default: int) -> int:
    """Return the number of epochs that the environment gives, or the default.

    Raises:
        ConfigError: if it is no whole number from 1.
    """
    text = os.environ.get(EPOCHS) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(EPOCHS, f"{text!r} is no number of epochs", "give a whole number from 1, such as 250")
    return int(text)


def model_folder() -> Path:
    """Return the model folder that the environment names.

    Raises:
        ConfigError: if it names none.
    """
    if not os.environ.get(MODEL):
        raise ConfigError(MODEL, "is not set", f"set it to the folder of a synthesizer, or set {PROB}=0")
    return Path(os.environ[MODEL])


def raw_cohort(name: str) -> Cohort:
    """Return the raw dataset of this name.

    Raises:
        ConfigError: if ``nnUNet_raw`` does not lead to it.
        CohortError: if it cannot be read.
    """
    folder = Path(os.environ.get("nnUNet_raw", "")) / name  # noqa: SIM112
    if not (folder / "dataset.json").is_file():
        what = "does not lead to the raw dataset, in which the brain and the range of intensities are found"
        raise ConfigError(f"nnUNet_raw/{name}", what, "set nnUNet_raw to the folder that holds it")
    return read_cohort(folder)


def check_fits(model: Synthesizer, cohort: Cohort) -> None:
    """Check that a model draws all channels and knows the classes of a dataset.

    Raises:
        ModelError: if not.
    """
    own, theirs = model.info.preprocessing.channels, cohort.channels
    if set(own) != set(theirs):
        what = f"draws the channels {', '.join(own)}, but {cohort.name} has {', '.join(theirs)}"
        raise ModelError(model_folder(), what, "fit it on these channels, or export them alone")
    if model.info.labels != dict(cohort.labels):
        known = ", ".join(f"{value} {name}" for name, value in cohort.labels.items())
        raise ModelError(model_folder(), f"has other lesion classes than {cohort.name} ({known})", "fit it on these")
