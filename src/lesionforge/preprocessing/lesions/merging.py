"""One map of anatomy and lesions, the condition of label-to-image translation.

Shin et al. 2018 (arXiv 1807.10225), Figure 2: labels of the brain are merged with labels of the tumour, and the
merged map is translated to an image. A lesion wins over tissue. Where a lesion and fluid such as the ventricles meet,
:data:`Winner` says which of the two stays; the label and the map must agree, so a lesion that yields is cut from both.

Nested classes (whole ⊃ core ⊃ enhancing) are exclusive values of one map. The innermost class wins where two lesions
overlap. By default a higher value lies further inside, but for the classes of BraTS (:func:`nested_by_name`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from lesionforge.cohort.layouts.brats import OUTERMOST_FIRST
from lesionforge.cohort.scan import BoolArray, LabelArray
from lesionforge.errors import CohortError

Winner = Literal["lesion", "core", "fluid"]
"""Where lesion and fluid meet: the whole lesion stays; all but its outermost class stays; the fluid stays."""


def merge(
    anatomy: LabelArray | None, lesion: LabelArray, *, structures: Sequence[int], classes: Sequence[int]
) -> LabelArray:
    """Return one map: the number of the structure beside the lesion, that of the class in the lesion.

    The lesion wins everywhere; use :func:`give_way` before, if it shall yield to fluid.

    Args:
        anatomy: ``(x, y[, z])`` tissue or structure values; not read without ``structures``.
        lesion: ``(x, y[, z])`` lesion classes, 0 = no lesion.
        structures: values of ``anatomy``, which get the numbers 0, 1, 2, …; empty = all values are one structure.
        classes: lesion classes, which get the next numbers.

    Returns:
        ``(x, y[, z])``; −1 for values that are not in ``structures`` or ``classes``.

    Raises:
        ValueError: if there are structures and no anatomy.

    Example:
        >>> anatomy, lesion = np.array([0, 2, 2, 5, 5]), np.array([0, 0, 1, 3, 0])
        >>> merge(anatomy, lesion, structures=(0, 2, 5), classes=(1, 3)).tolist()
        [0, 1, 3, 4, 2]
    """
    if not structures:
        merged, first = np.zeros(lesion.shape, np.int16), 1
    elif anatomy is None:
        raise ValueError("structures need an anatomy map")
    else:
        merged, first = _numbered(anatomy, structures), len(structures)
    numbers = _numbered(lesion, classes)
    return np.where(lesion == 0, merged, np.where(numbers < 0, -1, numbers + first)).astype(np.int16)


def give_way(lesion: LabelArray, fluid: BoolArray | None, winner: Winner) -> LabelArray:
    """Return a lesion without what yields to fluid; see :data:`Winner`.

    Args:
        lesion: ``(x, y[, z])`` lesion, 1 for its outermost class; see :func:`by_depth`.
        fluid: ``(x, y[, z])`` fluid such as the ventricles; ``None`` = none is known.
        winner: what stays where both are.

    Example:
        >>> lesion, fluid = np.array([1, 1, 2, 2, 0], np.int16), np.array([False, True, True, False, True])
        >>> [give_way(lesion, fluid, winner).tolist() for winner in ("lesion", "core", "fluid")]
        [[1, 1, 2, 2, 0], [1, 0, 2, 2, 0], [1, 0, 0, 2, 0]]
    """
    if fluid is None or winner == "lesion" or not lesion.any():
        return lesion
    yields = lesion > 0 if winner == "fluid" else lesion == 1
    return np.where(yields & fluid, 0, lesion).astype(np.int16)


def by_depth(lesion: LabelArray, nested: Sequence[int]) -> LabelArray:
    """Return a lesion with 1 for its outermost class, 2 for the next one, and so on.

    Args:
        lesion: ``(x, y[, z])`` classes, all of which are in ``nested``.
        nested: the classes, from the outermost to the innermost.
    """
    return np.where(lesion > 0, _numbered(lesion, nested) + 1, 0).astype(np.int16)


def by_class(depth: LabelArray, nested: Sequence[int]) -> LabelArray:
    """Return the classes of a map of :func:`by_depth`."""
    return np.array([0, *nested], np.int16)[depth]


def nested_by_name(labels: Mapping[str, int]) -> tuple[int, ...]:
    """Return the lesion classes of BraTS from the outermost to the innermost; none if other classes are among them.

    Args:
        labels: class name → value.

    Example:
        >>> nested_by_name({"background": 0, "NCR": 1, "ED": 2, "ET": 3})
        (2, 1, 3)
        >>> nested_by_name({"background": 0, "lesion": 1})
        ()
    """
    found = tuple(labels[name] for name in OUTERMOST_FIRST if name in labels)
    return found if set(found) == set(labels.values()) - {0} else ()


def check_nested(nested: Sequence[int]) -> None:
    """Raise ``ValueError`` unless these are different lesion classes."""
    if len(set(nested)) < len(nested) or min(nested, default=1) < 1:
        raise ValueError(f"nested is {tuple(nested)}: name each lesion class once")


def refuse_unseen(
    case_id: str,
    anatomy: LabelArray | None,
    lesion: LabelArray,
    *,
    structures: Sequence[int],
    classes: Sequence[int],
) -> None:
    """Refuse label maps with values that a model was not trained on; 0 is always known.

    Args:
        case_id: the case that the error names.
        anatomy: ``(x, y[, z])``, or ``None``.
        lesion: ``(x, y[, z])`` lesion classes.
        structures: values of the anatomy maps in training; empty = the model ignores anatomy.
        classes: lesion classes in training.

    Raises:
        CohortError: if there is such a value.
    """
    pairs = [("lesion class", lesion, classes)]
    if anatomy is not None and structures:
        pairs.append(("anatomy value", anatomy, structures))
    for what, labels, known in pairs:
        unseen = sorted(set(np.unique(labels).tolist()) - {0, *known})
        if unseen:
            values = f"{what}{'s' if len(unseen) > 1 else ''} {', '.join(map(str, unseen))}"
            remedy = f"use the values that it was trained on ({', '.join(map(str, known))}), or train it on these, too"
            raise CohortError(case_id, f"holds the {values}, which the model has not seen", remedy)


def _numbered(labels: LabelArray, values: Sequence[int]) -> LabelArray:
    """Return the position of each label in ``values``, −1 for other labels."""
    numbers = np.full(labels.shape, -1, np.int16)
    for number, value in enumerate(values):
        numbers[labels == value] = number
    return numbers
