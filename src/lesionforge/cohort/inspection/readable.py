"""The cases of a cohort whose files can be read."""

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, told


def readable(cohort: Cohort, *, on_problem: OnProblem) -> Cohort:
    """Return the cases that can be read.

    Args:
        cohort: the cohort; every case is read once.
        on_problem: called with the error of each case that cannot be read.

    Raises:
        CohortError: if no case can be read.
    """
    kept, problems = [], []
    for case in cohort:
        try:
            load_scan(case, list(case.images))
            kept.append(case)
        except CohortError as problem:
            problems.append(problem)
            on_problem(problem)
    if problems and not kept:
        what = told(f"none of its {len(cohort)} cases can be read", problems)
        raise CohortError(cohort.name, what, "correct them; `lesionforge check` lists all")
    return cohort.with_cases(kept)
