"""Options of the task ``nnunet``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lesionforge.tasks.base import TaskConfig


class NnUNetConfig(TaskConfig):
    """Options of nnU-Net; patch, network and preprocessing are what nnU-Net plans for the real training cases.

    Attributes:
        spatial_dims: 2 (configuration ``2d``) or 3 (``3d_fullres``).
        roi_size: ``None``, since nnU-Net plans the size of its patches.
        learning_rate: initial learning rate of SGD, which falls to 0 as a polynomial.
        augment: ``classical`` (nnU-Net's own) or ``none``.
        lesion_share: share of every batch that is cut around a lesion, as far as the batch has room for it.
        planner: nnU-Net's planner: its plain U-Net, or one of its residual encoders.
    """

    learning_rate: float = Field(default=1e-2, gt=0)
    augment: Literal["none", "classical"] = "classical"
    lesion_share: float = Field(default=0.33, ge=0, le=1)
    planner: Literal["ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlannerResEncL"] = "ExperimentPlanner"

    @property
    def configuration(self) -> str:
        """nnU-Net's name for the dimensions."""
        return "2d" if self.spatial_dims == 2 else "3d_fullres"

    @model_validator(mode="after")
    def _plans_its_own_patches(self) -> Self:
        if self.roi_size is not None:
            raise ValueError("roi_size is given, but nnU-Net plans the size of its patches: leave it out")
        return self
