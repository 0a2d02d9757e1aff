"""The trainer, where nnU-Net looks for those of others: in the files of the folders in ``nnUNet_extTrainer``."""

from lesionforge.production.nnunet.trainer import nnUNetTrainerLesionforge

__all__ = ["nnUNetTrainerLesionforge"]
