"""Cases with lesions in which HD95 has no value, because nothing was found in them."""

from __future__ import annotations

import pandas as pd

DISTANCE = "hd95"


def without_distance(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return score → number of the cases with lesions in which it has no value, and number of all cases with lesions.

    The scores are HD95 and HD95 of each class; for that of a class, only cases with a lesion of this class count.

    Args:
        rows: a row per scored case. Scores without a column that tells which cases have a lesion are left out.

    Example:
        >>> without_distance(pd.DataFrame({"hd95": [2.0, None, None], "lesion_sensitivity": [1.0, 0.0, None]}))
        {'hd95': (1, 2)}
    """
    counts = {}
    for name in map(str, rows.columns):
        shown_by = _shown_by(name)
        if shown_by is not None and shown_by in rows:
            with_lesions = rows[rows[shown_by].notna()]
            counts[name] = (int(with_lesions[name].isna().sum()), len(with_lesions))
    return counts


def _shown_by(name: str) -> str | None:
    """Return the score that has a value in just the cases with lesions that a distance is about."""
    if name == DISTANCE:
        return "lesion_sensitivity"
    return f"image_dice_{name.removeprefix(f'{DISTANCE}_')}" if name.startswith(f"{DISTANCE}_") else None
