"""Whether the channels of drawn cases belong together: a row for each synthesizer, beside real cases; ``channels.csv``.

The errors are those of :mod:`~lesionforge.scores.cohorts.channel_fit`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.report.drawn_on_the_fly import drawn_scans, on_the_fly, scans_to_draw_into
from lesionforge.benchmark.report.wording import count
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.contact_sheet import pick_evenly
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.files import write_text
from lesionforge.reading import read_frame
from lesionforge.scores.cohorts.channel_fit import ChannelVoxels, OfSubject, case_errors
from lesionforge.scores.statistics.intervals import mean_interval
from lesionforge.seeding import generator

CASES = 60
ERRORS, TABLE = "channel_errors.csv", "channels.csv"
PLACES = {"head": "head without lesions", "lesion": "lesions"}
COLUMNS = ("synthesizer", "drawn", "cases", "subject_id", *PLACES)
KINDS = ("drawn", "held_out", "difference")
_Row = tuple[object, ...]


def of_several_channels(study: Arms) -> list[str]:
    """Return the synthesizers of a plan if the images have several channels."""
    return list(study.plan.synthesizers) if len(study.channels) > 1 else []


def measure_channels(run: FinishedRun) -> pd.DataFrame:
    """Return the errors of predicting each channel from the others, of the run that figures show.

    A synthesizer that draws on the fly draws some cases into development scans, which are then the real cases beside
    them.

    Returns:
        A row per synthesizer and predicted case: ``synthesizer, drawn`` (else a real case that the regression has not
        seen), ``cases`` (how many of this kind were measured), ``subject_id, head, lesion`` (errors in standard
        deviations of a channel). No rows with one channel or fewer than two training subjects with lesions, and none of
        a synthesizer without cases.
    """
    real, names = run.train.with_lesions(), on_the_fly(run)
    if len(run.study.channels) < 2 or not (run.cohorts or names) or len(real.subjects) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    of_real, rows = _voxels(run, real), list[_Row]()
    for name, folder in run.cohorts.items():
        drawn = _voxels(run, read_cohort(folder))
        of_drawn, held_out = case_errors(drawn, of_real, generator(run.repeat.seed, "halves"))
        rows += _rows(name, of_drawn, drawn=True, cases=len(drawn))
        rows += _rows(name, held_out, drawn=False, cases=len(of_real))
    for name in names:
        rows += _of_on_the_fly(run, name, of_real)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_on_the_fly(run: FinishedRun, name: str, of_real: Sequence[ChannelVoxels]) -> list[_Row]:
    """Return the rows of cases drawn into development scans, and of these scans themselves."""
    forward, rows = run.repeat.preprocessing.forward, list[_Row]()
    drawn = [ChannelVoxels.of(forward(scan), ancestry) for scan, ancestry in drawn_scans(run, name)]
    before = _voxels(run, scans_to_draw_into(run, name)) if drawn else []
    for of_drawn, voxels in ((True, drawn), (False, before)):
        errors, _ = case_errors(voxels, of_real, generator(run.repeat.seed, "halves"))
        rows += _rows(name, errors, drawn=of_drawn, cases=len(voxels))
    return rows


def _rows(name: str, errors: Iterable[OfSubject], *, drawn: bool, cases: int) -> list[_Row]:
    return [(name, drawn, cases, subject, *(of[place] for place in PLACES)) for subject, of in errors]


def _voxels(run: FinishedRun, cases: Cohort) -> list[ChannelVoxels]:
    """Return the voxels of a sample of the cases, in the model space of the training set."""
    scans = [load_scan(case, run.study.channels) for case in pick_evenly(cases, CASES)]
    forward = run.repeat.preprocessing.forward
    return [ChannelVoxels.of(forward(scan), scan.case.ancestry) for scan in scans]


def summarize_channels(errors: pd.DataFrame, synthesizers: Iterable[str]) -> pd.DataFrame:
    """Return the mean errors over subjects, with 95 % intervals.

    Args:
        errors: see :func:`measure_channels`; those of all folds together are one table.
        synthesizers: all synthesizers of the plan.

    Returns:
        Two rows per synthesizer: ``synthesizer, place`` (``head`` or ``lesion``), and for ``drawn`` and ``held_out``
        cases and their ``difference`` within the same subjects, the mean, ``_low``, ``_high`` and ``_subjects``, and
        for both kinds ``_cases``. NaN and 0 subjects for a synthesizer without cases.
    """
    rows = []
    for name in synthesizers:
        own = errors[errors["synthesizer"] == name]
        for place in PLACES:
            means = own.groupby(["subject_id", "drawn"])[place].mean().unstack("drawn")
            drawn, held_out = (means[kind] if kind in means else pd.Series(dtype=float) for kind in (True, False))
            values = dict(zip(KINDS, (drawn, held_out, (drawn - held_out)), strict=True))
            row: dict[str, object] = {"synthesizer": name, "place": place}
            for kind, of_kind in values.items():
                row |= _interval(kind, of_kind)
            row |= {f"{kind}_cases": _cases(own, drawn=kind == "drawn") for kind in KINDS[:2]}
            rows.append(row)
    return pd.DataFrame(rows)


def _cases(errors: pd.DataFrame, *, drawn: bool) -> int:
    """Return the number of cases of one kind, over all folds."""
    of_kind = errors[errors["drawn"] == drawn]
    return int(of_kind.groupby(of_kind.get("fold", "drawn"))["cases"].first().sum())


def _interval(name: str, values: pd.Series[float]) -> dict[str, object]:
    found = mean_interval(values.dropna().to_numpy(float))
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high, f"{name}_subjects": found.n}


def write_channels(errors: pd.DataFrame, synthesizers: Sequence[str], folder: Path) -> list[dict[str, str]]:
    """Write ``channel_errors.csv`` and ``channels.csv`` and return the rows of the report.

    Args:
        errors: see :func:`measure_channels`.
        synthesizers: all synthesizers of the plan that draw several channels; nothing is written if there are none.
        folder: the benchmark folder.
    """
    if not synthesizers:
        return []
    table = summarize_channels(errors, synthesizers)
    write_text(folder / ERRORS, errors.to_csv(index=False))
    write_text(folder / TABLE, table.to_csv(index=False))
    return [_row(row) for row in table.to_dict("records")]


def read_errors(folders: Iterable[Path]) -> pd.DataFrame:
    """Return the ``channel_errors.csv`` of several folds as one table; those without one are left out."""
    paths = [folder / ERRORS for folder in folders]
    text = {"synthesizer": str, "subject_id": str}
    tables = [
        read_frame(path, dtype=text, keep_default_na=False, na_values=[""])
        .reindex(columns=[*COLUMNS])
        .assign(fold=path.parent.name)
        for path in paths
        if path.is_file()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def _row(row: Mapping[Hashable, Any]) -> dict[str, str]:
    names = {"synthesizer": row["synthesizer"], "place": PLACES[row["place"]]}
    if not row["drawn_subjects"]:
        return names | dict.fromkeys(KINDS, "not measured")
    return names | {kind: _text(row, kind) for kind in KINDS}


def _text(row: Mapping[Hashable, Any], kind: str) -> str:
    mean, low, high = (f"{row[f'{kind}{end}']:.3f}".replace("-", "−") for end in ("", "_low", "_high"))
    if not row[f"{kind}_subjects"]:
        return "not measured"
    interval = "" if np.isnan(row[f"{kind}_low"]) else f" [{low}, {high}]"
    subjects, cases = count(row[f"{kind}_subjects"], "subject"), row.get(f"{kind}_cases")
    return f"{mean}{interval}, {subjects}" + (f", {count(cases, 'case')}" if cases else "")
