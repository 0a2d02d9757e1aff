"""The subjects of a study, and where its files lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.setting import split_cases
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.errors import CohortError
from lesionforge.healers.base import healing_cohort


@dataclass(frozen=True, kw_only=True)
class HealingSetting:
    """A plan applied to a cohort.

    Attributes:
        plan: what is compared.
        train: cases that f_pre and every method are trained on, with the plan's channels alone.
        test: cases that are scored.
        out: the study's folder.
    """

    plan: HealingPlan
    train: Cohort
    test: Cohort
    out: Path

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels in use."""
        return self.test.channels

    @property
    def f_pre_folder(self) -> Path:
        """Where the segmentation network lies that looks for lesions in healed scans."""
        return self.out / "f_pre"

    @property
    def outlined(self) -> Cohort:
        """The training cases whose lesions have masks, and the lesion-free ones."""
        return self.train.annotated()

    def split(self) -> dict[str, list[str]]:
        """Return the case ids of every part, for ``split.json``."""
        return {name: [case.case_id for case in part] for name, part in (("train", self.train), ("test", self.test))}

    def seed_folder(self, seed: int) -> Path:
        """Return where everything of a seed lies."""
        return self.out / "runs" / f"seed{seed}"

    def model_folder(self, seed: int, name: str) -> Path:
        """Return where a trained method lies."""
        return self.seed_folder(seed) / "methods" / name

    def healed_folder(self, seed: int, name: str) -> Path:
        """Return where what a method made of the test cases lies."""
        return self.seed_folder(seed) / "healed" / name

    def results_file(self, seed: int) -> Path:
        """Return where the scores of a seed lie."""
        return self.seed_folder(seed) / "results.csv"


def make_healing_setting(
    plan: HealingPlan, cohort: Cohort, roles: Mapping[str, Collection[str]], out: Path
) -> HealingSetting:
    """Split the subjects.

    Raises:
        ConfigError: if roles and shares are mixed, or a role is not there.
        CohortError: if a part has no annotated case, or a test case a lesion without a mask.
        LeakError: if a test subject is the parent of a training case.
    """
    channels = plan.channels or cohort.channels
    cases = healing_cohort(cohort, channels).with_channels(channels)
    parts = split_cases(plan.subjects, cases, roles)
    check_no_leak(parts["train"], parts["test"])
    for case in parts["test"]:
        if not case.outlined:
            what = "has a lesion but no mask, which scores need"
            raise CohortError(case.case_id, what, "add the mask, or leave it out")
    return HealingSetting(plan=plan, train=parts["train"], test=parts["test"], out=out)
