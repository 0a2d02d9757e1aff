"""The commands nnunet train and nnunet predict: nnU-Net's own, with our trainer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lesionforge.cli.common import a_model, console
from lesionforge.errors import ConfigError
from lesionforge.production.nnunet import EPOCHS, MODEL, PROB, TRAINER, TRAINERS

PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def nnunet_train(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Number or name of the planned and preprocessed dataset.")],
    configuration: Annotated[str, typer.Argument(help="2d or 3d_fullres.")],
    fold: Annotated[str, typer.Argument(help="The fold, or all.")],
    model: Annotated[Path, typer.Option(callback=a_model, help="The model folder of the synthesizer that draws.")],
    prob: Annotated[float, typer.Option(min=0, max=1, help="Probability of a lesion for each patch.")] = 0.5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Length of training; 1000, as nnU-Net's, by default.")
    ] = None,
) -> None:
    """Train nnU-Net with lesions that a model draws into its patches; further options are nnUNetv2_train's.

    Example: lesionforge nnunet train 201 2d 0 --model model --prob 0.5 -device cpu
    """
    os.environ.update({MODEL: str(model), PROB: str(prob)})
    if epochs is not None:
        os.environ[EPOCHS] = str(epochs)
    _call("nnUNetv2_train", [dataset, configuration, fold, "-tr", TRAINER, *context.args])


def nnunet_predict(context: typer.Context) -> None:
    """Apply a network that nnunet train has trained; all options are nnUNetv2_predict's own (see its -h).

    Example: lesionforge nnunet predict -i imagesTs -o predictions -d 201 -c 2d -f 0
    """
    trainer = [] if "-tr" in context.args else ["-tr", TRAINER]
    _call("nnUNetv2_predict", [*context.args, *trainer])


def nnunet_path() -> None:
    """Print the folder of the trainer, which nnU-Net's own commands take from the environment.

    Example: lesionforge nnunet path
    """
    console.print(str(TRAINERS))


def _call(name: str, arguments: list[str]) -> None:
    """Call a command of nnU-Net, which finds the trainer.

    Raises:
        ConfigError: if nnU-Net is not installed.
    """
    try:
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point
        from nnunetv2.run.run_training import run_training_entry
    except ModuleNotFoundError as error:
        raise ConfigError(name, "is not installed", "pip install 'lesionforge[nnunet]'") from error
    others = os.environ.get("nnUNet_extTrainer", "").split(os.pathsep)  # noqa: SIM112
    os.environ["nnUNet_extTrainer"] = os.pathsep.join(filter(None, (str(TRAINERS), *others)))  # noqa: SIM112
    sys.argv = [name, *arguments]
    (run_training_entry if name == "nnUNetv2_train" else predict_entry_point)()
