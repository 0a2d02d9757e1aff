"""Lesions drawn while nnU-Net trains; needs the extra ``nnunet``."""

from pathlib import Path

TRAINERS = Path(__file__).parent / "trainers"
"""The folder in which nnU-Net finds the trainer, if the environment variable ``nnUNet_extTrainer`` names it."""
TRAINER = "nnUNetTrainerLesionforge"
MODEL, PROB = "LESIONFORGE_MODEL", "LESIONFORGE_PROB"
"""Environment variables: the model folder, and the probability of a lesion for each patch."""
