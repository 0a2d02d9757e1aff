"""The options of the baseline that the hyperparameter search may change, and which arms inherit them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from lesionforge.benchmark.plan import Plan
from lesionforge.tasks.base import TaskConfig


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The options shared by all arms at one training-set size.

    Attributes:
        augment: augmentation of the baseline, and of the arms whose plan names the same augmentation.
        learning_rate: learning rate of every arm that does not set its own.
        batch_size: batch size of every arm; ``None`` takes it from the dataset fingerprint.
    """

    augment: str
    learning_rate: float
    batch_size: int | None

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """Return the options that the plan gives its baseline."""
        task = plan.task_of(plan.baseline)
        return cls(augment=task.augment, learning_rate=task.learning_rate, batch_size=plan.training.batch_size)

    def applied(self, task: TaskConfig, plan: Plan, arm: str) -> TaskConfig:
        """Return an arm's task options, updated with the options that the arm inherits from the baseline."""
        changes: dict[str, object] = {}
        if plan.arms[arm].augment == plan.arms[plan.baseline].augment:
            changes["augment"] = self.augment
        if "learning_rate" not in plan.arms[arm].task or arm == plan.baseline:
            changes["learning_rate"] = self.learning_rate
        return task.model_copy(update=changes)

    def suffix(self, plan: Plan) -> str:
        """Return a folder-name suffix for these options; empty if they are the plan's own."""
        if self == Choice.of(plan):
            return ""
        return f"_{self}"

    def __str__(self) -> str:
        """Return a short form of the options, such as ``classical-lr0.003-b8``."""
        batch = "" if self.batch_size is None else f"-b{self.batch_size}"
        return f"{self.augment}-lr{self.learning_rate:g}{batch}"
