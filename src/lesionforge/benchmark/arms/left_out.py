"""Arms that are left out at some training-set sizes, because the training sets hold too little for them."""

from __future__ import annotations

from collections.abc import Mapping

from lesionforge.benchmark.arm_plan import Arm, SynthesizerPlan
from lesionforge.benchmark.arms.repeats import Arms, TrainSize
from lesionforge.benchmark.plan import Plan
from lesionforge.cohort.case import Cohort
from lesionforge.errors import ConfigError
from lesionforge.masks.base import MaskSource
from lesionforge.masks.generator.template_space import FEWEST_MASKS
from lesionforge.masks.registry import MASK_SOURCES, source_name
from lesionforge.synthesizers.registry import SYNTHESIZERS

LeftOut = Mapping[tuple[TrainSize, str], str]
"""(Size, arm) → why the arm is left out at this size."""


def left_out(study: Arms) -> LeftOut:
    """Return the arms that cannot be trained at a size of the plan with every seed.

    Raises:
        ConfigError: see :func:`check_left_out`.
    """
    plan, found = study.plan, dict[tuple[TrainSize, str], str]()
    for size in plan.subjects.numbers:
        sets = {seed: study.train[size, seed] for seed in plan.seeds}
        for name, arm in plan.arms.items():
            reasons = {seed: why for seed, train in sets.items() if (why := lacking(plan, arm, train))}
            if reasons:
                seed, why = next(iter(reasons.items()))
                found[size, name] = f"{why} (seed {seed})" if len(reasons) < len(sets) else why
    check_left_out(plan, found)
    return found


def check_left_out(plan: Plan, found: LeftOut) -> None:
    """Check that every arm is trained at some size, and the baseline at all of them.

    Raises:
        ConfigError: if not.
    """
    for name in plan.arms:
        of_arm = {size: found[size, name] for size in plan.subjects.numbers if (size, name) in found}
        if name == plan.baseline and of_arm:
            size, why = next(iter(of_arm.items()))
            remedy = "leave this size out, or choose another baseline"
            raise ConfigError(f"baseline {name}", f"cannot be trained at n = {size:g}: {why}", remedy)
        if len(of_arm) == len(plan.subjects.numbers):
            size = max(of_arm)
            remedy = "train on more subjects, or leave the arm out"
            raise ConfigError(f"arm {name}", f"cannot be trained even at n = {size:g}: {of_arm[size]}", remedy)


def left_out_lines(found: LeftOut) -> list[str]:
    """Return a line for each arm and size that is left out."""
    return [f"{name} is left out at n = {size:g}: {why}." for (size, name), why in found.items()]


def lacking(plan: Plan, arm: Arm, train: Cohort) -> str | None:
    """Return what a training set lacks for an arm, or ``None`` if the arm can be trained on it."""
    subjects = len({case.subject_id for case in train if not case.derived})
    real = round(arm.real * subjects) if isinstance(arm.real, float) else arm.real
    if real is not None and not 1 <= real <= subjects:
        return f"it trains on {arm.real:g} of the training subjects, but there {_are(subjects)}"
    if arm.synthesizer is None:
        return None
    synthesizer, lesions = plan.synthesizers[arm.synthesizer], train.with_lesions()
    for user, needed in _cases_needed(plan, synthesizer).items():
        if len(lesions) < needed:
            return f"{user} needs {needed} training {_with_a_lesion('case', needed)}, but there {_are(len(lesions))}"
    if synthesizer.lesion_free and synthesizer.targets is None and not len(train.healthy()):
        return "no training case is a lesion-free scan to draw into"
    judges = 2 + _cases_in_mask(synthesizer)
    if arm.kept is not None and len(lesions.subjects) < judges:
        people = _with_a_lesion("subject", judges)
        return f"judging its drawings takes {judges} training {people}, but there {_are(len(lesions.subjects))}"
    return None


def _cases_needed(plan: Plan, synthesizer: SynthesizerPlan) -> dict[str, int]:
    """Return what draws with the lesions of training cases → how many of them it needs."""
    needed = {synthesizer.method: SYNTHESIZERS[synthesizer.method].least_cases}
    name = synthesizer.mask_generator
    if name is None:
        return needed | {f"the mask source {synthesizer.masks}": _cases_in_mask(synthesizer)}
    return needed | ({f"the mask generator {name}": FEWEST_MASKS} if plan.mask_generators[name].masks is None else {})


def _cases_in_mask(synthesizer: SynthesizerPlan) -> int:
    """Return how many cases a mask is made of, besides the scan that is drawn into."""
    edits_own = synthesizer.of_own_lesion and synthesizer.own_share is None
    if edits_own or not SYNTHESIZERS[synthesizer.method].needs_mask:
        return 0
    source: type[MaskSource] = MASK_SOURCES[source_name(synthesizer.masks)]
    return source.made_of


def _with_a_lesion(noun: str, number: int) -> str:
    return f"{noun}{'s' * (number != 1)} with a lesion"


def _are(number: int) -> str:
    return f"{'is' if number == 1 else 'are'} {number}"
