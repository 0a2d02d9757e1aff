"""The options of the baseline that a search may change, and which arms inherit them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from lesionforge.benchmark.plan import Plan
from lesionforge.tasks.base import TaskConfig


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What all arms of one size of the training set share.

    Attributes:
        augment: of the baseline, and of the arms that have the same augmentation as the baseline.
        learning_rate: of every arm that does not have one of its own.
        batch_size: of every arm; ``None`` takes it from the fingerprint.
    """

    augment: str
    learning_rate: float
    batch_size: int | None

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return the options that the plan names for its baseline."""
        task = plan.task_of(plan.baseline)
        return cls(augment=task.augment, learning_rate=task.learning_rate, batch_size=plan.training.batch_size)

    def applied(self, task: TaskConfig, plan: Plan, arm: str) -> TaskConfig:
        """Return an arm's network with these options, where the arm inherits them from the baseline."""
        changes: dict[str, object] = {}
        if plan.arms[arm].augment == plan.arms[plan.baseline].augment:
            changes["augment"] = self.augment
        if "learning_rate" not in plan.arms[arm].task or arm == plan.baseline:
            changes["learning_rate"] = self.learning_rate
        return task.model_copy(update=changes)

    def suffix(self, plan: Plan) -> str:
        """Return what tells a folder of these options from one of the plan's own, which has no suffix."""
        if self == Choice.of(plan):
            return ""
        return f"_{self}"

    def __str__(self) -> str:
        """Return the options in short, such as ``classical-lr0.003-b8``."""
        batch = "" if self.batch_size is None else f"-b{self.batch_size}"
        return f"{self.augment}-lr{self.learning_rate:g}{batch}"
