"""Lesion-free scans of another set, chosen and changed so that level and brightness do not give the set away.

Lesions drawn into healthy scans of another hospital teach a network the hospital, unless both sets look alike beside
lesions. Every healthy subject therefore gets a partner among the reference subjects. Slices are taken at the levels of
the partner's slices. Tissue then gets the distribution of intensities in those slices, or in the partner's first
volume.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.layouts import WriteReport, case_files, write_nnunet
from lesionforge.cohort.layouts.cases_csv import write_table
from lesionforge.cohort.scan import FloatArray, Scan, load_scan, save_edited, save_image
from lesionforge.cohort.structures import structures_of
from lesionforge.engine.base import Engine
from lesionforge.engine.job import Job
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import CohortError
from lesionforge.files import claim_output, one_at_a_time, scratch, write_json
from lesionforge.production.matching.heights import Heights, estimate_heights, stack_order
from lesionforge.production.matching.match_sheet import match_sheet
from lesionforge.production.matching.set_classifier import set_auc, tissue, tissue_histogram
from lesionforge.seeding import generator

MOST_AUC = 0.6
"""Greatest accepted AUC, after matching, of a classifier that sees only level and histogram."""
MOST_VALUES = 1_000_000
MATCHES, FACTS = "match.csv", "match.json"
Progress = Callable[[int, int], None]
Auc = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, kw_only=True)
class Match:
    """A healthy case and the reference case at its level; for volumes, any case of the partner."""

    case: Case
    partner: Case


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """The result of matching.

    Attributes:
        written: the matched cohort, and the errors of the cases that were left out.
        auc: AUC of classifiers of the two sets that see ``level``, ``histogram`` or ``both``, ``before`` and
            ``after``; ``None`` if there are too few subjects.
        height_error: mean error of the estimated levels, in slices; ``None`` for volumes.
    """

    written: WriteReport
    auc: Auc
    height_error: float | None


@one_at_a_time
def match_cohort(
    cohort: Cohort,
    reference: Cohort,
    *,
    out: Path,
    seed: int = 0,
    columns: Collection[str] = (),
    engine: Engine | None = None,
    progress: Progress = lambda done, total: None,
) -> MatchReport:
    """Write the lesion-free scans of ``cohort`` that lie at the levels of ``reference``, with its intensities.

    The folder also gets ``match.csv`` (the partner of each case), ``match.json`` (the AUC of the classifiers) and
    ``match.png``. A matched case has its partner as a parent, since it takes over that subject's intensities.

    Args:
        cohort: a cohort with lesion-free scans; slices must form whole stacks, see
            :func:`~lesionforge.production.matching.heights.stack_order`.
        reference: the annotated cases that they shall look like outside lesions: the cases to be trained on.
        out: a new folder.
        seed: seed of the classifiers, and of the partners if levels do not determine them.
        columns: further columns of ``cases.csv`` to keep.
        engine: where intensities are changed, one subject at a time; by default in this process.
        progress: called with the number of finished cases and the total number.

    Raises:
        CohortError: if there is no lesion-free scan or no reference, if one consists of slices and the other of
            volumes, or if levels cannot be learnt.
        ConfigError: if the values of the anatomy maps mean different things.
        OutputError: if ``out`` is not empty.
    """
    problems: list[CohortError] = []
    healthy, reference = _checked(cohort, reference, problems)
    heights = None
    if healthy.cases[0].file_ending == ".png":
        heights = estimate_heights(healthy, reference, stack_order(cohort), seed=seed)
        healthy = healthy.with_cases([case for case in healthy if case.case_id in heights.of_stacks])
    partners = _partners(healthy, reference, heights, seed)
    matches = _matches(healthy, reference, heights, partners)
    structures = structures_of([healthy])
    claim_output(out)
    with scratch(out) as temporary:
        changes = Changes(_by_subject(matches), healthy.channels, temporary)
        changed = _changed(changes, engine or LocalEngine(), progress)
        written = write_nnunet(
            healthy.with_cases(changed), out, problems=problems, structures=structures, columns=columns
        )
    kept = {case.case_id: case for case in written.cohort}
    after = [replace(match, case=kept[match.case.case_id]) for match in matches if match.case.case_id in kept]
    judge = _Judge(partners, heights, seed)
    auc = {
        "before": judge.auc([case for case in healthy if case.subject_id in partners], reference.cases),
        "after": judge.auc([match.case for match in after], [match.partner for match in after]),
    }
    error = None if heights is None else heights.error
    write_table(out / MATCHES, [_row(match, heights) for match in after], columns=["case_id", "partner"])
    before = {match.case.case_id: match.case for match in matches}
    triples = [(match.partner, before[match.case.case_id], match.case) for match in after]
    match_sheet(triples, healthy.channels, out / "match.png")
    write_json(out / FACTS, {"auc": auc, "height_error": error, "reference": sorted(reference.subjects)})
    return MatchReport(written=written, auc=auc, height_error=error)


def told_apart(auc: Auc) -> bool:
    """Return whether a classifier still reaches more than :data:`MOST_AUC` after matching."""
    return any(value is not None and value > MOST_AUC for value in auc["after"].values())


def describe_auc(auc: Auc) -> str:
    """Describe in one line how well a classifier tells the sets apart, before and after."""
    said = {
        when: {name: "?" if value is None else f"{value:.2f}" for name, value in of.items()} for when, of in auc.items()
    }
    parts = [f"{name} {said['before'][name]} before, {value} after" for name, value in said["after"].items()]
    return f"AUC of a classifier of the two sets that sees only one of these: {'; '.join(parts)} (0.5 is chance)"


def match_intensities(
    image: FloatArray, values: FloatArray, wanted: FloatArray, *, beyond: Literal["stays", "scales"] = "stays"
) -> FloatArray:
    """Map intensities so that ``values`` get the distribution of ``wanted``.

    Args:
        image: intensities, some or all of them from ``values``.
        values: the sample whose distribution is changed.
        wanted: the sample with the target distribution.
        beyond: the mapping of intensities below or above ``values``. ``stays`` keeps them, since air and clipped bone
            mean the same in every 8-bit file; ``scales`` keeps their ratio to the ends of ``values``.
    """
    found, counts = np.unique(values, return_counts=True)
    quantiles = (np.cumsum(counts) - counts / 2) / values.size
    becomes = np.quantile(wanted, quantiles)
    below, above = image < found[0], image > found[-1]
    scales = (becomes[[0, -1]] / found[[0, -1]]) if beyond == "scales" and found[0] > 0 else (1.0, 1.0)
    changed = np.interp(image, found, becomes)
    return np.select([below, above], [image * scales[0], image * scales[1]], changed).astype(np.float32)


def _checked(cohort: Cohort, reference: Cohort, problems: list[CohortError]) -> tuple[Cohort, Cohort]:
    """Return the readable lesion-free cases and the annotated reference cases, with the reference's channels."""
    channels = reference.channels
    known = reference.having(channels).annotated()
    healthy = cohort.having(channels).with_channels(channels).healthy()
    healthy = healthy.with_cases([case for case in healthy if _is_readable(case, channels, problems)])
    if not len(healthy):
        raise CohortError(cohort.name, "has no lesion-free scan", "name scans that are annotated as lesion-free")
    if not len(known):
        raise CohortError(reference.name, "has no annotated scan to match", "annotate some")
    if healthy.cases[0].file_ending != known.cases[0].file_ending:
        what = "one holds slices, the other volumes"
        raise CohortError(f"{cohort.name} and {reference.name}", what, "name two cohorts of the same kind")
    return healthy, known


def _is_readable(case: Case, channels: Sequence[str], problems: list[CohortError]) -> bool:
    try:
        load_scan(case, channels)
    except CohortError as problem:
        problems.append(problem)
        return False
    return True


def _of_subjects(cohort: Cohort) -> dict[str, list[Case]]:
    return {subject: list(cohort.of_subjects([subject])) for subject in cohort.subjects}


def _partners(healthy: Cohort, reference: Cohort, heights: Heights | None, seed: int) -> dict[str, str]:
    """Return healthy subject → reference subject with the best fitting slices, none more often than needed."""
    own, theirs = _of_subjects(healthy), _of_subjects(reference)
    order = generator(seed, "partners").permutation(sorted(theirs)).tolist()
    columns = order * -(-len(own) // len(order))
    apart = np.zeros((len(own), len(columns)))
    if heights is not None:
        misfit = {(mine, other): _mean_distance(own[mine], theirs[other], heights) for mine in own for other in theirs}
        apart = np.array([[misfit[mine, other] for other in columns] for mine in own])
    rows, chosen = linear_sum_assignment(apart)
    names = list(own)
    return {names[row]: columns[column] for row, column in zip(rows, chosen, strict=True)}


def _mean_distance(mine: Sequence[Case], theirs: Sequence[Case], heights: Heights) -> float:
    apart = _distances(mine, theirs, heights)
    return float(apart[linear_sum_assignment(apart)].mean())


def _distances(mine: Sequence[Case], theirs: Sequence[Case], heights: Heights) -> NDArray[np.float64]:
    """Return the differences of height ``(mine, theirs)``; only slices of stacks have one."""
    places = [heights.of_stacks[case.case_id] for case in mine]
    return np.abs(np.subtract.outer(places, [heights.of_slices[case.case_id] for case in theirs]))


def _matches(healthy: Cohort, reference: Cohort, heights: Heights | None, partners: Mapping[str, str]) -> list[Match]:
    """Return all volumes with a partner, or the slices nearest to the partner's slices, none twice."""
    own, theirs, found = _of_subjects(healthy), _of_subjects(reference), []
    for mine, other in partners.items():
        if heights is None:
            found += [Match(case=case, partner=theirs[other][0]) for case in own[mine]]
            continue
        rows, columns = linear_sum_assignment(_distances(own[mine], theirs[other], heights))
        found += [
            Match(case=own[mine][row], partner=theirs[other][column]) for row, column in zip(rows, columns, strict=True)
        ]
    return found


@dataclass(frozen=True)
class Changes:
    """The changes of intensities that a match asks for.

    Attributes:
        matches: healthy subject → its matches.
        channels: image channels to change.
        folder: the folder of the changed images.
    """

    matches: Mapping[str, Sequence[Match]]
    channels: Sequence[str]
    folder: Path

    def files(self, case: Case) -> list[Path]:
        """Return the files of the changed channels of a case."""
        return case_files(self.folder, case.case_id, len(self.channels), case.file_ending)[0]


def _by_subject(matches: Sequence[Match]) -> dict[str, list[Match]]:
    """Return healthy subject → its matches."""
    found: dict[str, list[Match]] = {}
    for match in matches:
        found.setdefault(match.case.subject_id, []).append(match)
    return found


def _changed(changes: Changes, engine: Engine, progress: Progress) -> list[Case]:
    """Write the images of every matched case with its partner's intensities; return the cases with the new paths."""
    jobs = [
        Job(
            name=subject,
            product=changes.files(matches[-1].case)[-1],
            function=change_subject,
            arguments=(subject,),
        )
        for subject, matches in changes.matches.items()
    ]

    total = sum(map(len, changes.matches.values()))

    def tell(line: str) -> None:
        progress(sum(len(changes.matches[job.name]) for job in jobs if job.done), total)

    engine.run(lambda: jobs, tell, shared=(changes,))
    return [_with_changes(match, changes) for matches in changes.matches.values() for match in matches]


def _with_changes(match: Match, changes: Changes) -> Case:
    images = dict(zip(changes.channels, changes.files(match.case), strict=True))
    parents = tuple(sorted({*match.case.parents, *match.partner.ancestry}))
    return replace(match.case, images=images, parents=parents)


def change_subject(changes: Changes, subject: str) -> str:
    """Write the images of a healthy subject's cases with the intensities of the partner's cases."""
    of_subject, channels = changes.matches[subject], changes.channels
    partners = {match.partner.case_id: match.partner for match in of_subject}
    scans = [load_scan(match.case, channels) for match in of_subject]
    values = _tissue_values(scans)
    wanted = _tissue_values([load_scan(case, channels) for case in partners.values()])
    for match, scan in zip(of_subject, scans, strict=True):
        head = foreground(scan.image[0])
        for number, (channel, file) in enumerate(zip(channels, changes.files(match.case), strict=True)):
            image, sample = scan.image[number], (values[number], wanted[number])
            if match.case.file_ending == ".png":
                changed = match_intensities(image, *sample)
                save_edited(match.case.images[channel], file, changed, tissue(image, head))
            else:
                save_image(file, match_intensities(image, *sample, beyond="scales"), match.case.images[channel])
    return f"{subject}: {len(of_subject)} cases"


def _tissue_values(scans: Sequence[Scan]) -> list[FloatArray]:
    """Return, for each channel, a sample of the intensities of tissue outside lesions, over all scans."""
    found: list[list[FloatArray]] = [[] for _ in scans[0].channels]
    for scan in scans:
        head, lesion = foreground(scan.image[0]), None if scan.label is None else scan.label > 0
        for of_channel, channel in zip(found, scan.image, strict=True):
            of_channel.append(channel[tissue(channel, head, lesion)])
    pooled = [np.concatenate(of_channel) for of_channel in found]
    if not all(values.size for values in pooled):
        raise CohortError(scans[0].case.case_id, "shows no tissue", "leave its subject out")
    return [values[:: 1 + values.size // MOST_VALUES] for values in pooled]


@dataclass(frozen=True)
class _Judge:
    """Measures how well a classifier tells the sets apart; matched subjects are in the same fold."""

    partners: Mapping[str, str]
    heights: Heights | None
    seed: int

    def auc(self, healthy: Sequence[Case], reference: Sequence[Case]) -> dict[str, float | None]:
        """Return the AUC for each input of the classifier."""
        groups = [self.partners[case.subject_id] for case in healthy] + [case.subject_id for case in reference]
        cases = [*healthy, *reference]
        is_reference = [False] * len(healthy) + [True] * len(reference)
        histogram = np.stack([tissue_histogram(load_scan(case, list(reference[0].images))) for case in cases])
        shown = {"histogram": histogram}
        if self.heights is not None:
            level = np.array(
                [[self.heights.of_stacks[case.case_id]] for case in healthy]
                + [[self.heights.of_slices[case.case_id]] for case in reference]
            )
            shown |= {"level": level, "both": np.hstack([level, histogram])}
        found = {name: set_auc(table, is_reference, groups, seed=self.seed) for name, table in shown.items()}
        return {name: None if np.isnan(value) else round(value, 3) for name, value in found.items()}


def _row(match: Match, heights: Heights | None) -> dict[str, str]:
    row = {"case_id": match.case.case_id, "partner": match.partner.case_id}
    if heights is not None:
        row["height"] = f"{heights.of_stacks[match.case.case_id]:.2f}"
        row["height_of_partner"] = f"{heights.of_slices[match.partner.case_id]:.2f}"
    return row
