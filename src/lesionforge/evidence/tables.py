"""Comparisons as tables that people read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lesionforge.evidence.comparisons import Comparison
from lesionforge.evidence.facts import Facts

HEADER = (
    *("measured on", "lesions, mm", "contrast", "baseline", "arm", "points gained [95 % interval]"),
    *("would have been seen", "of the gap to all subjects, % [95 % interval]"),
)


def comparison_table(comparisons: Iterable[Comparison]) -> str:
    """Return a Markdown table with a row for each arm of each comparison; what was shown is in bold type."""
    lines = [HEADER, ["---"] * len(HEADER), *(row for comparison in comparisons for row in _rows(comparison))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def facts_line(name: str, facts: Facts) -> str:
    """Return the facts of a cohort in one line."""
    subjects = f"{facts.subjects} annotated subject{'s' if facts.subjects > 1 else ''}"
    contrast = f"contrast {facts.contrast:+.2f} in {facts.channel}".replace("-", "−")
    return f"{name}: {subjects}; lesions of {facts.diameter_mm:.0f} mm (median); {contrast}"


def _rows(comparison: Comparison) -> Iterator[Sequence[str]]:
    ceiling = f"; with all {comparison.all_subjects}: {comparison.all_baseline}" if comparison.all_subjects else ""
    about = [
        comparison.told,
        f"{comparison.diameter_mm:.0f}",
        f"{comparison.contrast:+.2f}".replace("-", "−"),
        f"{comparison.baseline} ({comparison.score}){ceiling}",
    ]
    for name, arm in comparison.arms.items():
        gain = f"**{arm}**" if name in comparison.shown else str(arm)
        seen = "–" if arm.detectable is None else f"{arm.detectable:.0f}"
        yield *about, f"`{name}`", gain, seen, _share(arm.closes)
        about = ["", "", "", ""]


def _share(closes: tuple[float, float | None, float | None] | None) -> str:
    """Return a share of the gap with its interval."""
    if closes is None:
        return "–"
    share, low, high = ("unknown" if number is None else f"{number:.0f}".replace("-", "−") for number in closes)
    return f"{share} [{low}, {high}]"
