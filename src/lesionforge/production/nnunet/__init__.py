"""Lesions drawn while nnU-Net trains; needs the extra ``nnunet``."""

from pathlib import Path

TRAINERS = Path(__file__).parent / "trainers"
"""The folder in which nnU-Net finds the trainer, if the environment variable ``nnUNet_extTrainer`` names it."""
TRAINER = "nnUNetTrainerLesionforge"
MODEL, PROB, EPOCHS = "LESIONFORGE_MODEL", "LESIONFORGE_PROB", "LESIONFORGE_EPOCHS"
"""Environment variables: the model folder, the probability of a lesion for each patch, and the length of training."""
