"""The command recommend."""

from __future__ import annotations

import typer

from lesionforge.cli.common import Channels, CohortFolder, console, progress_bar
from lesionforge.cli.spoken import spoken


def recommend(cohort: CohortFolder, channels: Channels = None) -> None:
    """Say whether drawing lesions is likely to help with a cohort, by what was measured on others like it.

    Compared are the number of annotated subjects, the size of the lesions and their contrast; synthetic cases do not
    count.

    Example: lesionforge recommend Dataset001_LGG
    """
    from rich.markdown import Markdown

    from lesionforge.cohort.inspection.fingerprint import fingerprint
    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.evidence.comparisons import measured
    from lesionforge.evidence.facts import Facts
    from lesionforge.evidence.recommend import recommend
    from lesionforge.evidence.tables import comparison_table, facts_line

    read = read_cohort(cohort)
    chosen = read.having(channels) if channels else read
    chosen = chosen.with_cases([case for case in chosen.annotated() if not case.derived])
    with progress_bar("measuring") as progress:
        seen = fingerprint(chosen, channels or read.channels, progress=progress)
    for problem in seen.problems:
        console.print(f"left out: {spoken(problem)}", style="yellow")
    facts = Facts.of(seen)
    advice = recommend(facts, measured())
    console.print(facts_line(read.name, facts))
    for sentence in advice.sentences:
        console.print(f"- {sentence}")
    plan = f"{advice.preset} --scale {advice.scale}"
    console.print(f"- Measure it on this cohort: lesionforge benchmark {plan} --data {cohort} --out RUN")
    if advice.alike:
        console.print(Markdown(comparison_table(advice.alike)))
    if seen.problems:
        raise typer.Exit(1)
