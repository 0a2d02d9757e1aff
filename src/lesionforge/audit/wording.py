"""The findings of an audit in sentences, and what each of them cannot show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lesionforge.audit.calibration import Calibration
from lesionforge.audit.copies import SPLIT, WITHIN
from lesionforge.audit.membership import OTHERS, smallest_rate
from lesionforge.audit.origin import COPY, FULL
from lesionforge.audit.white_box import CRITIC_SCORE, RECONSTRUCTION
from lesionforge.errors import LesionforgeError
from lesionforge.scores.statistics.intervals import mean_interval

Row = Mapping[Hashable, Any]
REAL, COPIES, MEMBERSHIP, CONTROLS = "What is real in a synthetic case", "Copies", "Membership", "Controls"
OVER_FOLDS, NOT_AUDITED = "Membership over folds", "Not audited"
TOLERATED = 0.05
"""The target: at most this share of held-out subjects is called copies."""
FEWEST_ASSURING = round(1 / TOLERATED) - 1
"""Fewest held-out subjects that can assure it."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the report.

    Attributes:
        title: its heading.
        main: the main findings, which a model card repeats.
        details: further findings.
        cannot: what the part cannot show.
    """

    title: str
    main: tuple[str, ...]
    details: tuple[str, ...]
    cannot: str

    @property
    def lines(self) -> tuple[str, ...]:
        """All findings, a sentence or two each."""
        return (*self.main, *self.details)


def not_audited(error: LesionforgeError) -> Section:
    """Return the section of an audit that the cases do not allow."""
    cannot = "Nothing was compared, so nothing is known of copies or membership."
    return Section(title=NOT_AUDITED, main=(str(error),), details=(), cannot=cannot)


def on_origin(origin: pd.DataFrame) -> Section:
    """Return the section on what is real; see :func:`~lesionforge.audit.origin.what_is_real`."""
    n, copies = len(origin), origin["follows"] == COPY
    share, with_scan = origin.loc[~copies, "own_voxels"].dropna(), (origin["scan_of"] != "") & ~copies
    whole, with_mask = with_scan & (origin["blend"] == FULL), int((origin["mask_of"] != "").sum())
    drawn_into = int(with_scan.sum() - whole.sum())
    lines = [f"{drawn_into} of {n} synthetic cases are drawn into a scan of a real case."]
    if copies.any():
        lines.append(
            f"{copies.sum()} of {n} synthetic cases are transformed copies: a real case's whole scan with its own "
            "lesions, turned, scaled, sheared, blurred or brightened. They show that patient and nobody else, though "
            "few of their voxels are unchanged."
        )
    if whole.any():
        lines.append(f"{whole.sum()} of {n} synthetic cases are whole new images on the grid of a real case.")
    if len(share):
        lines.append(
            f"In the {len(share)} cases whose scan is at hand, {share.mean():.1%} of the head's voxels are that "
            f"patient's own, unchanged ({share.min():.1%} to {share.max():.1%})."
        )
    elif drawn_into or whole.any():
        lines.append("The scans are not among the cases at hand, so the share of own voxels is not known.")
    lines.append(f"The mask of {with_mask} cases comes from a subject at hand, as it was drawn or edited.")
    lines += [f"The generator was shown {shown}." for shown in sorted(set(origin["shown"]) - {""})]
    if (origin["parents"] == 0).any():
        lines.append("Some cases name no parents: their records do not say whom they come from.")
    cannot = (
        "A record says what a generator was given, not what it kept. A voxel that was changed a little does not count "
        "as the patient's own, though it may still show the patient's anatomy."
    )
    return Section(title=REAL, main=tuple(lines), details=(), cannot=cannot)


def copies_found(copies: pd.DataFrame) -> tuple[int, int]:
    """Return the number of cases called copies, and of those that no record explains."""
    found = copies[copies["copy"]]
    return found["case_id"].nunique(), found.loc[found["known"] == "", "case_id"].nunique()


def on_copies(copies: pd.DataFrame, duplicates: pd.DataFrame, calibration: Calibration, chance: float) -> Section:
    """Return the section on copies.

    Args:
        copies: see :func:`~lesionforge.audit.copies.find_copies`.
        duplicates: see :func:`~lesionforge.audit.copies.find_duplicates`.
        calibration: the threshold.
        chance: share of cases that are closer to a training than to a held-out case if nothing is remembered.
    """
    (found, unexplained), n = copies_found(copies), copies["case_id"].nunique()
    main = [
        f"Copies found: {unexplained} of {n} synthetic cases, beside {found - unexplained} whose record explains the "
        f"likeness.{_by_reason(copies)}",
        f"The threshold lets {calibration.rate:.1%} of real subjects be called copies, in all comparisons together; "
        f"{calibration.subjects} held-out subjects set it.{_above_target(calibration)}",
        *_on_near_split(duplicates),
    ]
    lines = []
    for (view, measure), part in copies.groupby(["view", "measure"], sort=False):
        flagged = part[part["copy"]]
        lines.append(
            f"{str(view).capitalize()}, {measure}: {len(flagged)} of {len(part)} above "
            f"{part['threshold'].iloc[0]:.3f} ({(flagged['known'] != '').sum()} explained); {_closer(part)} are closer "
            f"to a training case than to any held-out case, where chance is {chance:.0%}."
        )
    lines += _on_duplicates(duplicates)
    cannot = (
        "A copy that was turned, scaled or bent, a copy of a part smaller than a lesion, and whatever the generator "
        "remembers but did not draw in these cases are not found. A copy cannot be told from "
        "a likeness that a record explains: what is drawn from a subject's own map or outline may be remembered, too. "
        "No copies found does not mean that there are none."
    )
    return Section(title=COPIES, main=tuple(main), details=tuple(lines), cannot=cannot)


def _by_reason(copies: pd.DataFrame) -> str:
    """Return how many cases each kind of record explains; a case may have several likenesses."""
    explained = copies[copies["copy"] & (copies["known"] != "")]
    counts = explained.groupby("known", sort=False)["case_id"].nunique()
    if not len(counts):
        return ""
    return f" Explained, in any view: {'; '.join(f'{reason} ({count})' for reason, count in counts.items())}."


def _closer(part: pd.DataFrame) -> str:
    """Return the share of cases that are closer to a training than to a held-out case, with its interval."""
    closer = (part["similarity"] > part["held_out"]).groupby(part["subject_id"]).mean()
    found = mean_interval(closer.to_numpy(float))
    interval = "" if math.isnan(found.low) else f" [{max(found.low, 0):.0%}, {min(found.high, 1):.0%}]"
    return f"{found.mean:.0%}{interval}"


def _on_duplicates(duplicates: pd.DataFrame) -> list[str]:
    lines = []
    for kind in ("exact", "near"):
        part = duplicates[duplicates["kind"] == kind]
        for where in dict.fromkeys((WITHIN, SPLIT, *part["where"])):
            here = part[part["where"] == where]
            if not len(here) and (where, kind) != (WITHIN, kind):
                continue
            known = int((here["known"] != "").sum())
            lines.append(f"{kind.capitalize()} duplicates {where}: {len(here)} pairs, {known} of the same subject.")
    return lines


def _above_target(calibration: Calibration) -> str:
    """Return a warning if so few held-out subjects cannot assure few enough false alarms."""
    if calibration.rate <= TOLERATED:
        return ""
    remedy = f"; hold out {FEWEST_ASSURING} or more" if calibration.subjects < FEWEST_ASSURING else ""
    return f" That is above the target of {TOLERATED:.0%}, so copies found may be false alarms{remedy}."


def _on_near_split(duplicates: pd.DataFrame) -> list[str]:
    """Return a warning if held-out scans nearly equal training scans."""
    near = duplicates.loc[duplicates["where"] == SPLIT, "case_id"].nunique()
    if not near:
        return []
    return [
        f"{near} held-out scans nearly equal a training scan and raise the threshold, so copies may be missed: look at "
        "them in duplicates.csv and leave them out if they show the same person."
    ]


def on_membership(
    table: pd.DataFrame, without: pd.DataFrame, rates: Sequence[float], folds: pd.DataFrame | None = None
) -> Section:
    """Return the section on membership.

    Args:
        table: see :func:`~lesionforge.audit.membership.membership`.
        without: the same of attacks without a trained generator.
        rates: false-positive rates that were asked for.
        folds: see :func:`~lesionforge.audit.membership.over_folds`.
    """
    main, lines = list[str](), list[str]()
    if len(table):
        best = table.sort_values("auc", ascending=False, kind="stable").to_dict("records")[0]
        main += [
            f"{table['members'].max()} members (training subjects) and {table['held_out'].max()} held-out subjects.",
            f"The highest AUC of {len(table)} attacks is {_three(best, 'auc')} ({best['attack']}), p = {best['p']:.3g} "
            "after Holm's correction; 0.5 is chance.",
            *_on_split(without),
        ]
    lines += [f"{row['attack']}: AUC {_three(row, 'auc')}{_rates(row, rates)}." for row in table.to_dict("records")]
    main += _on_resolution(table, rates)
    if not set(table["attack"] if len(table) else ()) & {CRITIC_SCORE, RECONSTRUCTION}:
        main.append("White box: not judged, since no model with its critic was named.")
    if folds is not None:
        lines += _on_folds(folds)
    cannot = (
        "Only the attacks that are listed were tried, and a stronger one may succeed. An attack with all synthetic "
        f"cases also finds subjects by the scan or mask that was drawn into. One with cases {OTHERS} does not, but "
        "leaves a member fewer cases to be like, so its AUC leans below 0.5. An AUC near 0.5 does not show that "
        "nothing is remembered."
    )
    return Section(title=MEMBERSHIP, main=tuple(main), details=tuple(lines), cannot=cannot)


def on_folds(folds: pd.DataFrame) -> Section:
    """Return the section on membership over the folds of a study; see :func:`~lesionforge.audit.membership.over_folds`.

    Args:
        folds: the result of that function.
    """
    cannot = (
        "Only the attacks that are listed were tried. Half of the subjects score higher by chance, and few subjects "
        "or folds resolve little more than that."
    )
    return Section(title=OVER_FOLDS, main=tuple(_on_folds(folds)), details=(), cannot=cannot)


def _on_folds(folds: pd.DataFrame) -> list[str]:
    return [
        f"Over folds, {row['attack']}: {row['higher']} of {row['subjects']} subjects score higher with a generator "
        f"that was fitted on them (p = {row['p']:.3g})."
        for row in folds.to_dict("records")
    ]


def _on_resolution(table: pd.DataFrame, rates: Sequence[float]) -> list[str]:
    held_out = int(table["held_out"].max()) if len(table) else 0
    if not held_out:
        return ["Membership was not judged: no view has members and held-out subjects."]
    least = smallest_rate(held_out)
    lines = [f"{held_out} held-out subjects resolve false-positive rates from {least:.1%} on."]
    beyond = ", ".join(f"{rate:.3g}" for rate in rates if rate < least)
    if beyond:
        lines.append(f"The true-positive rate at a false-positive rate of {beyond} cannot be measured with so few.")
    return lines


def _rates(row: Row, rates: Sequence[float]) -> str:
    known = [rate for rate in rates if not math.isnan(row[f"tpr_{rate:g}"])]
    return "".join(f"; true positives at {rate:.3g} false positives {_three(row, f'tpr_{rate:g}')}" for rate in known)


def _three(row: Row, name: str) -> str:
    value, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def on_controls(planted: pd.DataFrame, alarms: float, table: pd.DataFrame, without: pd.DataFrame) -> Section:
    """Return the section on controls.

    Args:
        planted: see :func:`~lesionforge.audit.planted.plant_copies`.
        alarms: share of held-out subjects called copies by a threshold fitted on the others.
        table: the result of membership.
        without: the result of membership without a trained generator.
    """
    main = [
        f"Planted copies, {row['view']}: {row['found']} of {row['planted']} replayed training cases were found."
        for row in planted.to_dict("records")
    ]
    missed = planted[planted["found"] < planted["planted"]]
    main += [f"The audit misses copies in the view {view}: its count there says little." for view in missed["view"]]
    above = f", above the target of {TOLERATED:.0%}" if alarms > TOLERATED else ""
    main.append(f"False alarms: {alarms:.1%} of held-out subjects, each judged by the others{above}.")
    main.append(_on_chance(table))
    lines = [
        f"Without a trained generator, {row['attack']}: AUC {_three(row, 'auc')}." for row in without.to_dict("records")
    ]
    cannot = (
        "Planted copies are easy ones. False alarms hold for scans like the held-out ones. Random halves show chance, "
        "neither bias nor leaks. Without a trained generator, a difference between the two groups shows only if it "
        "makes scans more or less alike or reaches an untrained network; a trained critic may see finer ones."
    )
    return Section(title=CONTROLS, main=tuple(main), details=tuple(lines), cannot=cannot)


def _on_chance(table: pd.DataFrame) -> str:
    """Return what random halves of the members show: what chance can do with so few subjects."""
    halves = table[["halves_low", "halves_high"]].dropna() if len(table) else table
    if not len(halves):
        return "Fewer than four members were attacked, so what chance can do is not known."
    return (
        f"What chance can do with so few subjects: 95 % of the AUCs between random halves of the members lie within "
        f"{halves['halves_low'].min():.2f} to {halves['halves_high'].max():.2f}; an attack within that range says "
        "nothing."
    )


def _on_split(without: pd.DataFrame) -> list[str]:
    """Return whether the two groups differ without a trained generator, which can pass for membership."""
    known = without.dropna(subset=["auc_low"]) if len(without) else without
    if not len(known):
        return ["Whether the two groups differ without a trained generator is not known."]
    apart = known[(known["auc_low"] > 0.5) | (known["auc_high"] < 0.5)]
    if not len(apart):
        return [f"Without a trained generator, none of {len(known)} scores tells the two groups apart."]
    worst = max(apart.to_dict("records"), key=lambda row: abs(row["auc"] - 0.5))
    return [
        f"The two groups differ without any trained generator, in {len(apart)} of {len(known)} scores (most: "
        f"{worst['attack']}, AUC {_three(worst, 'auc')}). This can pass for membership: the AUC above need not be a "
        "leak."
    ]
