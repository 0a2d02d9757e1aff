"""Make the lists of scores in reading-the-scores.md from the dictionaries.

python docs/make_score_lists.py
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from lesionforge.scores.registry import FAMILIES
from lesionforge.scores.score import Score, Scores

PAGE = Path(__file__).parent / "reading-the-scores.md"
BLOCK = re.compile(r"(<!-- scores of (?P<family>[\w ]+), .*?-->\n).*?(<!-- end of scores -->)", re.DOTALL)
LEVELS = {"case": "a case", "image": "an image", "cohort": "a cohort", "set": "all cases at once"}
HEADER = "| score | unit | better | range | belongs to | what it measures |\n|---|---|---|---|---|---|\n"


def current(page: str) -> str:
    """Return a page with the list of every family made anew."""
    return BLOCK.sub(lambda found: found[1] + table(FAMILIES[found["family"]]) + found[3], page)


def table(scores: Scores) -> str:
    """Return a Markdown table, a row per score."""
    return HEADER + "".join(f"| {' | '.join(cells(score))} |\n" for score in scores.values())


def cells(score: Score) -> list[str]:
    """Return what the table says of a score."""
    names = f"`{score.name}`, `{score.name}_CLASS`" if score.per_class else f"`{score.name}`"
    better = {"neither": "–"}.get(score.better, score.better)
    title = "" if score.title == score.name else f"{score.title}: "
    what = title + score.description.replace("|", r"\|")
    return [names, score.unit or "–", better, reach(score), LEVELS[score.level], what]


def reach(score: Score) -> str:
    """Return the range in the unit that is shown."""
    low, high = (f"{end * score.factor:g}".replace("-", "−") for end in score.range)
    match [math.isfinite(end) for end in score.range]:
        case [True, True]:
            return f"{low} to {high}"
        case [True, False]:
            return f"{low} or more"
        case [False, True]:
            return f"{high} or less"
    return "any"


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
