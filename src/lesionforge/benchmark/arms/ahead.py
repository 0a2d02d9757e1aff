"""Job planning of a study of arms: decisions use the scores that exist; missing scores become jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionforge.audit.audit_folder import SUMMARY
from lesionforge.benchmark.arms import arm_jobs
from lesionforge.benchmark.arms.arm_jobs import DEVELOPMENT, RESULTS, development_found_nothing, development_score
from lesionforge.benchmark.arms.audit_offline import audit_offline
from lesionforge.benchmark.arms.chosen_generator import choose
from lesionforge.benchmark.arms.judged import SCORES, judge_offline
from lesionforge.benchmark.arms.repeats import Arms, ArmTraining, Repeat
from lesionforge.benchmark.arms.target_scans import match_targets
from lesionforge.engine.base import Say
from lesionforge.engine.job import Job
from lesionforge.production.match import FACTS
from lesionforge.production.select import RECOMMENDED

MODEL, CASES = "model.json", "cases.csv"


class NotYetError(Exception):
    """A decision needs scores that do not exist yet."""


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """Collects the jobs of a run while its decisions are made, as far as the existing scores allow.

    Attributes:
        study: the study that is run.
        jobs: job name → job, for all jobs known so far.
        say: called with one line per decision.
        scored: returns the development score of a training run, or ``None`` if it has not been scored yet.
        found_nothing: returns whether a training run that was scored finds nothing in the development cases.
    """

    study: Arms
    jobs: dict[str, Job] = field(default_factory=dict)
    say: Say = lambda line: None
    scored: Callable[[ArmTraining], float | None] = development_score
    found_nothing: Callable[[ArmTraining], bool] = development_found_nothing

    def development_scores(self, trainings: Sequence[ArmTraining]) -> list[float]:
        """Return the development score of each training run, after adding its jobs.

        Raises:
            NotYetError: if a score does not exist yet.
        """
        for training in trainings:
            self._add(training, arm_jobs.score_development, DEVELOPMENT)
        found = [score for training in trainings if (score := self.scored(training)) is not None]
        if len(found) < len(trainings):
            raise NotYetError
        return found

    def add_synthesizers(self, repeat: Repeat) -> None:
        """Add the jobs of all synthesizers that arms use, and of their offline cases."""
        for arm in repeat.arms.values():
            if arm.synthesizer is not None:
                self._synthesizer(repeat, arm.synthesizer, offline=arm.use == "offline")

    def add_audits(self, repeat: Repeat) -> None:
        """Add the audits of the synthesizers whose offline cases the plan wants audited."""
        used = {arm.synthesizer for arm in repeat.arms.values() if arm.use == "offline"}
        for name, synthesizer in self.study.plan.synthesizers.items():
            if synthesizer.audit is not None and name in used:
                drawn = self._synthesizer(repeat, name, offline=True)
                self._job(repeat.audit_folder(name) / SUMMARY, audit_offline, repeat, name, needs=drawn)

    def add_test(self, training: ArmTraining) -> None:
        """Add the jobs of a training run and of its scores on the test cases."""
        self._add(training, arm_jobs.score_test, RESULTS)

    def _add(self, training: ArmTraining, score: Callable[[ArmTraining], str], table: str) -> None:
        trained = self._job(training.folder / MODEL, arm_jobs.train, training, needs=self._before(training))
        self._job(training.folder / table, score, training, needs=[trained])

    def _before(self, training: ArmTraining) -> list[str]:
        """Return the names of the jobs that must be done before an arm is trained."""
        arm = training.arm
        if arm.synthesizer is None:
            return []
        drawn = self._synthesizer(training.repeat, arm.synthesizer, offline=arm.use == "offline")
        if arm.kept is not None:
            scores = training.repeat.judged_folder(arm.synthesizer) / SCORES
            drawn = [self._job(scores, judge_offline, training.repeat, arm.synthesizer, needs=drawn)]
        if arm.finetune is None:
            return drawn
        return [*drawn, self._job(training.pretraining_folder / MODEL, arm_jobs.pretrain, training, needs=drawn)]

    def _synthesizer(self, repeat: Repeat, name: str, *, offline: bool) -> list[str]:
        """Add a synthesizer's jobs; return those needed before it can draw, or before its offline cases exist."""
        plan, fitted = self.study.plan.synthesizers[name], self.study.plan.fitted_as(name)
        needs = [self._job(repeat.model_folder(name) / MODEL, arm_jobs.fit_synthesizer, repeat, fitted)]
        if plan.selection is not None:
            needs.append(self._job(repeat.selection_folder(name) / RECOMMENDED, choose, repeat, fitted, needs=needs))
        if plan.mask_generator is not None:
            product = repeat.mask_generator_folder(plan.mask_generator) / MODEL
            needs.append(self._job(product, arm_jobs.fit_mask_generator, repeat, plan.mask_generator))
        if not offline:
            return needs
        if plan.targets is not None:
            needs.append(self._job(repeat.targets_folder(name) / FACTS, match_targets, repeat, name))
        return [self._job(repeat.cohort_folder(name) / CASES, arm_jobs.draw_offline, repeat, name, needs=needs)]

    def _job(self, product: Path, function: Callable[..., str], *arguments: Any, needs: Sequence[str] = ()) -> str:
        """Add a job and return its name, the path of its product below ``runs``."""
        name = product.relative_to(self.study.out / "runs").as_posix()
        self.jobs[name] = Job(name=name, product=product, function=function, arguments=arguments, needs=tuple(needs))
        return name
