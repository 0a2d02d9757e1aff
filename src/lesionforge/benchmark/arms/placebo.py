"""Placebos: what an arm trains on in place of drawings, to tell their effect from that of everything around them."""

from __future__ import annotations

from dataclasses import replace

from lesionforge.cohort.case import Cohort
from lesionforge.errors import ConfigError
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

    Raises:
        ConfigError: if a scan has a single drawing.
    """
    of_scan = dict[str, list[int]]()
    for number, case in enumerate(drawn):
        of_scan.setdefault(case.source_case, []).append(number)
    cases = list(drawn)
    for scan, numbers in of_scan.items():
        if len(numbers) == 1:
            what = "has one drawing, so there is no other label to give it"
            raise ConfigError(scan, what, "raise `cases`, so that each scan is drawn into twice or more")
        order = generator(seed, "shuffled labels", scan).permutation(numbers).tolist()
        for number, other in zip(order, [*order[1:], order[0]], strict=True):
            label, annotation = drawn.cases[other].label, drawn.cases[other].annotation
            cases[number] = replace(drawn.cases[number], label=label, annotation=annotation)
    return drawn.with_cases(cases)
