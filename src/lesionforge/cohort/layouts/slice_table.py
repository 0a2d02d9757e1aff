"""Slices and a table: one row per slice, with its image and mask."""

from collections.abc import Mapping
from pathlib import Path

from lesionforge.cohort.case import Annotation, Cohort
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.cases_csv import case_from_row, check_choice, check_ids, read_table
from lesionforge.cohort.layouts.labels import NoMask, OnProblem, annotate, fail
from lesionforge.reading import Row

COLUMNS = ("slice_id", "image", "mask")


def read_slices(
    source: Path,
    *,
    name: str | None = None,
    channel: str = "CT",
    labels: Mapping[str, int] | None = None,
    no_mask: NoMask = "unknown",
    binary_masks: bool = False,
    on_problem: OnProblem = fail,
) -> Cohort:
    """Read slices listed in a table with the columns ``slice_id``, ``subject_id``, ``image`` and optionally ``mask``.

    Paths are relative to the table. Further columns are kept; columns of ``cases.csv`` keep their meaning.

    Args:
        source: the table, or a folder that holds it as ``slices.csv``.
        name: name of the cohort; the folder's name by default.
        channel: name of the image channel.
        labels: lesion classes; by default named after the masks' values (``lesion``, or ``lesion_1`` …).
        no_mask: annotation of a slice without a mask, if no ``annotation`` column gives it.
        binary_masks: any non-zero mask value is the lesion; write the cohort with the same option.
        on_problem: called with the error of each slice that is left out; raises by default.

    Raises:
        CohortError: if the table is invalid.
    """
    table = source / "slices.csv" if source.is_dir() else source
    rows = read_table(table, ["slice_id", "subject_id", "image"])
    check_ids(rows, table, "slice_id")
    for row in rows:
        check_choice(table, row, "annotation", ("", *map(str, Annotation)))
    masks = {row["slice_id"]: _listed(table, row["mask"]) for row in rows if row.get("mask")}
    annotations, classes = annotate(masks, labels, binary_masks=binary_masks, on_problem=on_problem)
    cases = []
    for row in rows:
        slice_id = row["slice_id"]
        if slice_id in masks and slice_id not in annotations:
            continue
        stated = row.get("annotation") or annotations.get(slice_id) or no_mask
        cases.append(
            case_from_row(
                _case_row(row),
                images={channel: _listed(table, row["image"])},
                annotation=Annotation(stated),
                label=masks.get(slice_id),
                anatomy=None,
            )
        )
    return Cohort(name=name or table.parent.resolve().name, channels=(channel,), labels=classes, cases=tuple(cases))


class SliceTable(Layout):
    """Slices that a table lists."""

    method = "slices"
    sought = "slices.csv, or a table that ends with .csv"
    read = staticmethod(read_slices)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether the source is a table, or holds ``slices.csv``."""
        if source.is_file() and source.suffix.lower() == ".csv":
            return "it is a table"
        return "it holds slices.csv" if (source / "slices.csv").is_file() else ""


def _listed(table: Path, cell: str) -> Path:
    """Return the path in a cell, in which Windows writes a backslash where others write a slash."""
    path = table.parent / cell
    return path if path.exists() or "\\" not in cell else table.parent / cell.replace("\\", "/")


def _case_row(row: Row) -> Row:
    return {"case_id": row["slice_id"], **{key: value for key, value in row.items() if key not in COLUMNS}}
