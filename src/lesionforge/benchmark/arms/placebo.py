"""Placebos: what an arm trains on in place of drawings, to tell their effect from that of everything around them."""

from __future__ import annotations

from dataclasses import replace

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.arms.target_scans import drawn_into
from lesionforge.cohort.case import Case, Cohort
from lesionforge.errors import CohortError, ConfigError
from lesionforge.seeding import generator


def undrawn(drawn: Cohort, scans: Cohort) -> Cohort:
    """Return synthetic cases whose drawing is undone: images and labels are those of the scans drawn into.

    Ids, parents and provenance stay, so each case counts as often as its drawing.

    Args:
        drawn: the synthetic cases.
        scans: the scans that they were drawn into.
    """
    before = {case.case_id: case for case in scans}
    cases = []
    for case in drawn:
        scan = before[case.source_case]
        images = {channel: scan.images[channel] for channel in case.images}
        cases.append(replace(case, images=images, label=scan.label, annotation=scan.annotation))
    return drawn.with_cases(cases)


def with_shuffled_labels(drawn: Cohort, seed: int) -> Cohort:
    """Return synthetic cases with their labels shuffled among the drawings in each scan; none keeps its own.

    So all labels lie on the grid and in the brain of their image, and the scan's own lesions stay in all of them.

    A scan's only drawing, such as where others found no place, is left out.

    Raises:
        CohortError: if no scan has two drawings or more.
    """
    of_scan = dict[str, list[int]]()
    for number, case in enumerate(drawn):
        of_scan.setdefault(case.source_case, []).append(number)
    cases = dict[int, Case]()
    for scan, numbers in of_scan.items():
        if len(numbers) == 1:
            continue
        order = generator(seed, "shuffled labels", scan).permutation(numbers).tolist()
        for number, other in zip(order, [*order[1:], order[0]], strict=True):
            label, annotation = drawn.cases[other].label, drawn.cases[other].annotation
            cases[number] = replace(drawn.cases[number], label=label, annotation=annotation)
    if not cases:
        what = "has no scan with two drawings, between which labels could be shuffled"
        raise CohortError(drawn.name, what, "raise `cases`, or use other masks, which find a place more often")
    return drawn.with_cases([cases[number] for number in sorted(cases)])


def check_shuffled(study: Arms) -> None:
    """Check that each scan is drawn into twice or more for the arms that shuffle labels, before any training.

    How many target scans of another cohort will match is not known by then; they are not counted.

    Raises:
        ConfigError: if a scan has a single drawing.
    """
    for repeat in study.repeats:
        for name, arm in repeat.arms.items():
            plan = study.plan.synthesizers.get(arm.synthesizer or "")
            if arm.placebo != "shuffled_labels" or plan is None or plan.targets is not None:
                continue
            scans, drawings = len(drawn_into(plan, repeat.train)), plan.number_of_cases(len(repeat.train))
            assert drawings is not None
            if drawings < 2 * scans:
                what = f"shuffles the labels of each scan's drawings, but {drawings} cases are drawn into {scans} scans"
                remedy = f"raise `cases` of {arm.synthesizer} to {2 * scans} or more, or give `per_case: 2`"
                raise ConfigError(f"arm {name}, {repeat}", what, remedy)
