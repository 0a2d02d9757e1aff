"""The rows of a report that are read from what the runs of a plan wrote."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lesionforge.benchmark.arms.control import Lengths
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.report.by_rule import describe_by_rule
from lesionforge.benchmark.report.changed_outside import describe_changed_outside
from lesionforge.benchmark.report.cost import describe_cost
from lesionforge.benchmark.report.drawn_in_fluid import describe_drawn_in_fluid
from lesionforge.benchmark.report.new_lesions import describe_new_lesions
from lesionforge.benchmark.report.reached import describe_reached


def measured_rows(studies: Sequence[tuple[Arms, Lengths]], results: pd.DataFrame) -> dict[str, str]:
    """Return row name → text; a row that says nothing of the plan is left out.

    Args:
        studies: the study that was run, or those of all folds, each with the training length of its arms.
        results: a row per arm × train_size × seed × case.
    """
    drawn = [arms for arms, _ in studies]
    return (
        describe_new_lesions(studies)
        | describe_drawn_in_fluid(drawn)
        | describe_changed_outside(drawn)
        | describe_by_rule(studies)
        | describe_reached(results)
        | describe_cost(studies)
    )
