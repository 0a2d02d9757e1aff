"""The rows of a report that describe how the plan was carried out."""

from __future__ import annotations

from lesionforge.benchmark.arm_plan import Arm, SynthesizerPlan
from lesionforge.benchmark.arms.control import Lengths
from lesionforge.benchmark.arms.ingredients import PAPER_EPOCHS
from lesionforge.benchmark.arms.judged import describe_kept
from lesionforge.benchmark.arms.mask_sources import describe_mask_generators
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.arms.target_scans import describe_targets
from lesionforge.benchmark.arms.tune import describe_tuning
from lesionforge.benchmark.plan import Plan

AUGMENTATIONS = {
    "none": "no augmentation",
    "classical": "classical augmentation",
    "affine": "small affine moves",
    "elastic": "rotation, translation and elastic deformation",
    "ct": "classical augmentation and that of head CT",
    "ct_published": "augmentation of head CT",
}

PLACEBOS = {"undrawn": "the scans before {}", "shuffled_labels": "{} with labels shuffled among the drawings of a scan"}


def method_notes(study: Arms, lengths: Lengths) -> dict[str, str]:
    """Return row name → text for the table "Data and method".

    Args:
        study: the study that was run.
        lengths: training length of its arms.
    """
    plan = study.plan
    return {
        "Training subjects": _describe_draws(study),
        "Test subjects": f"{len(study.test.subjects)}, never trained on, {_how_often_scored(plan)}",
        "Channels": ", ".join(study.channels),
        "Length of every arm": f"{_describe_length(study, lengths)}{_longer(plan)}; the last weights are used",
        "Network": plan.task_class.describe(plan.task),
        **({} if plan.spacing is None else {"Spacing": " × ".join(f"{mm:g}" for mm in plan.spacing) + " mm"}),
        **describe_tuning(study),
        "Undertrained-baseline control": lengths.describe(),
        "Arms": "; ".join(f"{name}: {describe_arm(plan, name)}" for name in plan.arms),
        **describe_mask_generators(study),
        **describe_targets(study),
        **describe_kept(study),
        **scoring_rules(plan),
    }


def scoring_rules(plan: Plan) -> dict[str, str]:
    """Return row name → text on how the task is scored."""
    return plan.task_class.scoring_rules(plan.task, in_plane=plan.in_plane)


def _describe_draws(study: Arms) -> str:
    plan = study.plan
    sizes = {size: len(study.train[size, plan.seeds[0]].subjects) for size in plan.subjects.numbers}
    if set(sizes.values()) == {len(study.pool.subjects)}:
        return f"all {len(study.pool.subjects)}, in every seed"
    sets = min(plan.subjects.training_sets or len(plan.seeds), len(plan.seeds))
    one, many = "one random choice, the same for all seeds", f"{sets} random choices, taken in turn by the seeds"
    counts = ", ".join(map(str, sizes.values()))
    return f"{counts} of {len(study.pool.subjects)}: {one if sets == 1 else many}; a smaller set is part of the larger"


def _how_often_scored(plan: Plan) -> str:
    if plan.learning_curves is None or not plan.task_class.watches:
        return "scored once"
    return f"scored at the end, and every {plan.learning_curves} steps for the learning curves, which decide nothing"


def _describe_length(study: Arms, lengths: Lengths) -> str:
    """Return the length and batch size of the arms: once if all sizes have the same."""
    of_sizes = {}
    for size, length in lengths.of.items():
        batch = study.choice(size).batch_size or "from the fingerprint"
        of_sizes[size] = f"{_length_of(study.plan, length.steps)} of batch size {batch}"
    same = set(of_sizes.values())
    return same.pop() if len(same) == 1 else ", ".join(f"n = {size:g}: {text}" for size, text in of_sizes.items())


def _length_of(plan: Plan, steps: int) -> str:
    if plan.budget == "steps":
        return f"{steps} steps"
    epochs = ", ".join(f"{number} {kind}" for kind, number in PAPER_EPOCHS.items())
    return f"epochs by what is trained on ({epochs})"


def _longer(plan: Plan) -> str:
    """Return which arms are trained for longer, as a control."""
    factors = {name: arm.longer for name, arm in plan.arms.items() if arm.longer is not None}
    return "".join(f"; {factor:g} times as long: {name}" for name, factor in factors.items())


def _describe_number(synthesizer: SynthesizerPlan) -> str:
    """Return how many synthetic cases are drawn, and how."""
    if synthesizer.per_case is not None:
        number = f"{synthesizer.per_case} cases for each training case"
    else:
        number = "a case for each scan" if synthesizer.cases is None else f"{synthesizer.cases} cases"
    return number + _how_drawn(synthesizer)


def _how_drawn(synthesizer: SynthesizerPlan) -> str:
    negatives = f", {synthesizer.negatives:.0%} of them redrawn without a lesion" if synthesizer.negatives else ""
    far = synthesizer.displacement
    return negatives + (f", tissue around them displaced by up to {far:g} mm" if far else "")


def describe_arm(plan: Plan, name: str) -> str:
    """Return what an arm is trained on, and with which augmentation."""
    longer = plan.arms[name].longer
    return _describe_items(plan, name) + ("" if longer is None else f", for {longer:g} times the steps")


def _fall(arm: Arm) -> str:
    """Return how the synthetic share of an arm falls, if it does."""
    if arm.fade is None:
        return ""
    begin, end = arm.fade
    return f", the synthetic share falling to 0 from {begin:.0%} to {end:.0%} of the steps"


def _describe_items(plan: Plan, name: str) -> str:
    arm = plan.arms[name]
    inherited = plan.tune is not None and arm.augment == plan.arms[plan.baseline].augment
    augment = "the augmentation that the search chose" if inherited else AUGMENTATIONS[arm.augment]
    augment += "".join(f", {key} {value}" for key, value in arm.task.items())
    real = "real" if arm.real is None else f"real ({arm.real:g} {'subjects' if arm.real >= 1 else 'of the subjects'})"
    if arm.synthesizer is None:
        return f"{real}, {augment}"
    synthesizer = plan.synthesizers[arm.synthesizer]
    lesions = plan.task_of(name).lesion_share
    augment += _fall(arm)
    share, drawn = arm.given_share, f"{synthesizer.method} ({_describe_number(synthesizer)} offline)"
    if arm.kept is not None:
        drawn += " found with a Dice of {:g} to {:g}".format(*arm.kept)
    if arm.placebo is not None:
        drawn = PLACEBOS[arm.placebo].format(drawn)
    if arm.use == "on_the_fly" and arm.placebo == "undrawn":
        return f"{real}, {share:.0%} of the items as {synthesizer.method} would draw into them, undrawn, {augment}"
    if arm.use == "on_the_fly":
        share, drawn = share * lesions, f"{synthesizer.method} (on the fly, into {lesions:.0%} of the items)"
    if arm.union:
        return f"{real} and {drawn} as one training set, {augment}"
    if arm.finetune is not None:
        return f"{drawn} alone, then {arm.finetune:.0%} of the steps on {real}, {augment}"
    if arm.use == "on_the_fly":
        of_items = f"{share:.0%} of the items with a lesion drawn by {synthesizer.method} on the fly"
        return f"{real}, {of_items}{_how_drawn(synthesizer)}, {augment}"
    rest = "" if share == 1 else f", the rest {real}"
    return f"{share:.0%} {drawn}{rest}, {augment}"
