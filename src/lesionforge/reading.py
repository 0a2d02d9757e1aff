"""Text, JSON, YAML and CSV from others: whatever is wrong with a file comes out as one line that names it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lesionforge.errors import CohortError, ConfigError, LesionforgeError

if TYPE_CHECKING:
    import pandas as pd

Fault = type[LesionforgeError]
Row = dict[str, str]

MOST_DEPTH = 64
MOST_VALUES = 300_000
"""Of a JSON or YAML file, each use of an anchor counted: plans and cohorts have thousands."""


def read_text(path: Path, *, fault: Fault = CohortError, remedy: str = "save it as text in UTF-8") -> str:
    """Return the text of a file, without a byte-order mark.

    Args:
        path: the file.
        fault: what is raised.
        remedy: what its message tells the user to do.

    Raises:
        LesionforgeError: ``fault``, if the file is missing, cannot be opened, or is not UTF-8.
    """
    if not path.is_file():
        raise fault(path, "there is no such file", "check the path")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(path, "is not text in UTF-8", "save it in UTF-8") from error
    except OSError as error:
        raise fault(path, f"cannot be read ({error.strerror})", remedy) from error


def read_json(path: Path, *, fault: Fault = CohortError, remedy: str = "restore it, or make it anew") -> Any:
    """Return the content of a JSON file.

    Raises:
        LesionforgeError: ``fault``, if the file cannot be read, is no JSON, is nested more than 64 deep, or holds a
            character that cannot be written again.
    """
    text = read_text(path, fault=fault, remedy=remedy)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(path, f"cannot be read as JSON ({_reason(error)})", remedy) from error
    check_content(content, path, fault=fault, remedy=remedy)
    return content


def read_yaml(path: Path, *, fault: Fault, remedy: str = "correct it") -> Any:
    """Return the content of a YAML file; see :func:`parse_yaml`."""
    return parse_yaml(read_text(path, fault=fault, remedy=remedy), path, fault=fault, remedy=remedy)


def parse_yaml(text: str, where: str | Path, *, fault: Fault, remedy: str = "correct it") -> Any:
    """Return what a YAML text says.

    Raises:
        LesionforgeError: ``fault``, if the text is no YAML, refers to itself, is nested more than 64 deep, or holds a
            character that cannot be written again.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise fault(where, f"is not YAML ({_reason(error)})", remedy) from error
    check_content(content, where, fault=fault, remedy=remedy)
    return content


def check_content(content: Any, where: str | Path, *, fault: Fault, remedy: str) -> None:
    """Raise ``fault`` unless the content is small enough to walk through and can be written as UTF-8."""
    waiting, seen = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > MOST_DEPTH or seen > MOST_VALUES:
            raise fault(where, "is nested too deep, or refers to itself", remedy)
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise fault(where, f"holds the text {value[:40]!r}, which is not Unicode", remedy)
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for item in value.items() for part in item]
        elif isinstance(value, list | tuple | set):
            waiting += [(part, depth + 1) for part in value]


def read_rows(
    path: Path, required: Iterable[str] = (), *, fault: Fault = CohortError, separator: str = ","
) -> list[Row]:
    """Return the rows of a CSV file as text; an empty cell is ``""``.

    Blank lines are passed over, and so are empty cells beyond the last column, which spreadsheets leave behind.

    Args:
        path: the table, in UTF-8.
        required: columns that must be there.
        fault: what is raised.
        separator: of the cells; where it is a tab, as in BIDS, no cell is quoted.

    Raises:
        LesionforgeError: ``fault``, if the file cannot be read, has no header, names a column twice, lacks a required
            one, or has a line with fewer or more cells than columns, which is named.
    """
    text = read_text(path, fault=fault, remedy="save it as CSV in UTF-8")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        strict=True,
        delimiter=separator,
        quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL,
    )
    columns: list[str] = []
    rows: list[Row] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if not columns:
                columns = _columns(cells, path, fault)
                continue
            while len(cells) > len(columns) and not cells[-1]:
                cells.pop()
            if len(cells) != len(columns):
                what = f"line {reader.line_num} has {len(cells)} cells, but there are {len(columns)} columns"
                raise fault(path, what, "correct that line; a text with a comma wants quotes")
            rows.append(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise fault(path, f"line {reader.line_num} cannot be read ({error})", "save it as CSV in UTF-8") from error
    if not columns:
        raise fault(path, "cannot be read (it is empty)", "save it as CSV in UTF-8, with a header")
    for column in required:
        if column not in columns:
            raise fault(path, f"has no column {column}", _separator(columns) or f"its columns are {', '.join(columns)}")
    return rows


def read_frame(path: Path, *, fault: Fault = ConfigError, **options: Any) -> pd.DataFrame:
    """Return a CSV file as a table, once :func:`read_rows` has found nothing wrong with it.

    Args:
        path: the table.
        fault: what is raised.
        options: of ``pandas.read_csv``.

    Raises:
        LesionforgeError: ``fault``, see :func:`read_rows`; and if a column has another type than ``options`` say.
    """
    import pandas as pd

    read_rows(path, fault=fault)
    try:
        return pd.read_csv(path, encoding="utf-8-sig", **options)
    except (ValueError, pd.errors.ParserError) as error:
        raise fault(path, f"is not such a table ({_reason(error)})", "make it again") from error


def _columns(cells: list[str], path: Path, fault: Fault) -> list[str]:
    while not cells[-1]:
        cells.pop()
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice or "" in cells:
        what = f"has two columns {twice[0]!r}" if twice and twice[0] else "has a column without a name"
        raise fault(path, what, "give every column a name of its own")
    return cells


def _separator(columns: list[str]) -> str:
    """Return what to do about a table that is separated by something else than commas, if it looks like one."""
    found = next((name for mark, name in ((";", "semicolons"), ("\t", "tabs")) if mark in columns[0]), None)
    return "" if found is None or len(columns) > 1 else f"its cells are separated by {found}; use commas"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return " ".join(str(error).split())
