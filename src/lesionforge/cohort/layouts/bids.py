"""BIDS: raw scans and derivatives, whose names are made of entities such as ``sub-01_ses-1_T1w``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from lesionforge.cohort.case import Cohort, ending_of, stem_of
from lesionforge.cohort.image_file import read_header
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.exported import exported_case
from lesionforge.cohort.layouts.exported_sessions import (
    SessionTables,
    channel_said,
    classes_for_masks,
    classes_of,
    measured,
)
from lesionforge.cohort.layouts.labels import NoMask, OnNote, OnProblem, annotate, fail, keep_silent
from lesionforge.cohort.layouts.listing import folders_in, is_listed
from lesionforge.cohort.layouts.merged_masks import merge_masks
from lesionforge.errors import CohortError, ConfigError
from lesionforge.reading import Row

NAME = re.compile(r"(sub-[A-Za-z0-9+]+(?:_[A-Za-z]+-[A-Za-z0-9+]+)*)_([A-Za-z0-9]+)")
"""Entities, each a key, a hyphen and a value, and then the suffix."""
MASKS = ("mask", "msk", "roi", "seg", "dseg", "probseg", "lesion")
"""Suffixes of files that are no images."""
TISSUE = ("dseg", "probseg")
"""Suffixes of masks that are of lesions only if ``label`` or ``desc`` says so."""
LESIONS = re.compile("lesion|tumou?r|stroke|infarct|wmh|ha?emorr|microbleed|o?edema|abnormal", re.IGNORECASE)
"""What ``label`` or ``desc`` of a lesion mask says."""
NATIVE = ("orig", "native", "individual", "scanner", "subject")
"""Values of ``space`` that mean the same as none."""
CONTRAST = "ce"
"""The entity of a contrast agent, which makes another channel of a suffix."""
NO_PATTERNS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Named:
    """An image file with a BIDS name.

    Attributes:
        path: the file.
        entities: key → value, such as ``sub`` → ``01``.
        suffix: the last part of the name, such as ``T1w``.
        derived: whether it lies among the derivatives.
        home: the folder ``sub-LABEL`` in which it lies, if it is known.
        classes: whether it is a map of lesion classes that an export wrote.
        said: the channel that an export wrote it as; empty for files of others.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    derived: bool = False
    home: Path | None = None
    classes: bool = False
    said: str = ""

    @property
    def session(self) -> str:
        """``sub-01_ses-1``, or ``sub-01`` without sessions."""
        return "_".join(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities)

    @property
    def space(self) -> str:
        """The space in which it lies; empty for its own."""
        space = self.entities.get("space", "")
        return "" if space in NATIVE else space

    @property
    def channel(self) -> str:
        """What an export says; else the suffix, in capitals unless it has some, and the contrast agent."""
        if self.said:
            return self.said
        suffix = self.suffix.upper() if self.suffix.islower() else self.suffix
        return f"{suffix} {CONTRAST}-{self.entities[CONTRAST]}" if CONTRAST in self.entities else suffix

    @property
    def run(self) -> int:
        """The number of the run, 0 without one."""
        return int(re.sub(r"\D", "", self.entities.get("run", "")) or 0)

    @property
    def shows_lesions(self) -> bool:
        """Whether it is a mask of lesions: ``label`` or ``desc`` says so, or there are neither."""
        said = [self.entities[key] for key in ("label", "desc") if key in self.entities]
        if self.suffix not in MASKS:
            return False
        return self.classes or any(map(LESIONS.search, said)) or (not said and self.suffix not in TISSUE)


def parse_name(path: Path, *, derived: bool = False, home: Path | None = None) -> Named | None:
    """Return the parts of a BIDS name, or ``None`` if the name of the image file is none."""
    match = NAME.fullmatch(stem_of(path)) if ending_of(path) else None
    if match is None:
        return None
    entities = dict(part.split("-", 1) for part in match[1].split("_"))
    return Named(path=path, entities=entities, suffix=match[2], derived=derived, home=home)


def read_bids(
    folder: Path,
    *,
    channels: Mapping[str, str] = NO_PATTERNS,
    mask: str | None = None,
    anatomy: str | None = None,
    name: str | None = None,
    labels: Mapping[str, int] | None = None,
    no_mask: NoMask = "unknown",
    binary_masks: bool = False,
    on_problem: OnProblem = fail,
    on_note: OnNote = keep_silent,
) -> Cohort:
    """Read a BIDS folder: each session is a case, ``sub-LABEL`` its subject, each suffix of a 3D image a channel.

    Files lie in ``sub-LABEL``, or in that folder among the derivatives or those of a pipeline. All images and masks of
    a cohort lie in one ``space``: that of the lesion masks, else the subject's own. Of several files for one channel
    of a session, raw ones come before derivatives, then the run of the mask, the lowest run, and the shortest name.
    Several masks of one scan are an error, unless a pattern matches them all: then they are merged.

    Of a folder that lesionforge exported, ``participants.tsv`` and ``sub-*_sessions.tsv`` say which case of whom a
    session is, and what it was drawn from; without them, a session that is ``desc-synthetic`` or ``desc-simulated`` is
    left out. Its channels have their names again, and its masks are the maps of classes, where there are any.

    Args:
        folder: the BIDS folder.
        channels: channel name → pattern for paths, such as ``*_T1w.nii.gz``; by default all suffixes are channels.
        mask: pattern for the lesion masks; by default masks that ``label`` or ``desc`` call a lesion, or that have
            neither. Several of one scan are merged: a voxel is a lesion if it is one in any of them.
        anatomy: pattern for anatomy label maps.
        name: name of the cohort; the folder's name by default.
        labels: lesion classes; by default those of an export, else named after the masks' values.
        no_mask: annotation of a session without a mask.
        binary_masks: any non-zero mask value is the lesion; write the cohort with the same option.
        on_problem: called with the error of each session that is left out; raises by default.
        on_note: called with a line about files that are not used.

    Raises:
        CohortError: if there is no image, or the masks lie in several spaces; see ``on_problem`` for single sessions.
        ConfigError: if a pattern matches no file.
    """
    files = [replace(file, said=channel_said(file)) for file in _named_files(folder)]
    files = classes_for_masks(files) if mask is None else files
    parts = _sorted_out(folder, files, channels, mask, anatomy)
    merging, tables = mask is not None, SessionTables()
    sessions: dict[str, _Session] = {}
    rows: dict[str, Row] = {}
    images: dict[str, dict[str, Path]] = {}
    for session in sorted({file.session for group in parts.images.values() for file in group}):
        try:
            found = parts.of(session, merging=merging)
            row = tables.row(session, tuple(found.images.values()), found.maps)
            rows[session] = row or {"case_id": session, "subject_id": session.partition("_")[0]}
            images[session], sessions[session] = measured(found.images, rows[session]), found
        except CohortError as problem:
            on_problem(problem)
    _tell_unused(files, sessions.values(), on_note)
    masks = {session: found.mask(binary=binary_masks) for session, found in sessions.items() if found.labels}
    merged = [session for session, found in sessions.items() if len(found.labels) > 1]
    if merged:
        on_note(f"{len(merged)} sessions have several masks, which were merged, such as {masks[merged[0]].name}")
    if labels is None and not binary_masks:
        labels = classes_of(file for found in sessions.values() for file in found.labels)
    annotations, classes = annotate(masks, labels, binary_masks=binary_masks, on_problem=on_problem)
    cases = [
        exported_case(
            rows[session],
            images=images[session],
            found=annotations.get(session),
            no_mask=no_mask,
            label=masks.get(session),
            anatomy=None if found.anatomy is None else found.anatomy.path,
        )
        for session, found in sessions.items()
        if session not in masks or session in annotations
    ]
    return Cohort(name=name or folder.resolve().name, channels=tuple(parts.images), labels=classes, cases=tuple(cases))


class Bids(Layout):
    """Brain Imaging Data Structure."""

    method = "bids"
    sought = "folders sub-LABEL with files such as sub-LABEL_T1w.nii.gz"
    read = staticmethod(read_bids)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether a file in a folder of a subject has a BIDS name."""
        first = next(_named_files(source), None) if source.is_dir() else None
        return "" if first is None else f"it holds files such as {first.path.relative_to(source)}"


@dataclass(frozen=True, kw_only=True)
class _Session:
    """The files of a session."""

    images: Mapping[str, Named]
    labels: Sequence[Named]
    anatomy: Named | None

    @property
    def maps(self) -> tuple[Named, ...]:
        return (*self.labels, *((self.anatomy,) if self.anatomy is not None else ()))

    @property
    def files(self) -> tuple[Named, ...]:
        return (*self.images.values(), *self.maps)

    def mask(self, *, binary: bool) -> Path:
        """Return the path by which the mask is read; several are merged."""
        paths = [label.path for label in self.labels]
        return paths[0] if len(paths) == 1 else merge_masks(paths, binary=binary)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The files of all sessions: images by channel, lesion masks, anatomy maps."""

    images: Mapping[str, Sequence[Named]]
    lesions: Sequence[Named]
    maps: Sequence[Named]

    def of(self, session: str, *, merging: bool) -> _Session:
        """Return the files of a session.

        Args:
            session: its name.
            merging: whether several masks of one scan are merged.

        Raises:
            CohortError: if two files come first, see :func:`_best`, or there are several masks that are not merged.
        """

        def best(files: Sequence[Named], what: str, option: str, run: int = 0) -> Named | None:
            return _best([file for file in files if file.session == session], what, option, run=run)

        labels = self._masks_of(session)
        if len(labels) > 1 and not merging:
            names = ", ".join(label.path.name for label in labels)
            remedy = "choose with `mask=PATTERN`; those that match it are merged"
            raise CohortError(session, f"has several lesion masks ({names})", remedy)
        run = labels[0].run if labels else 0
        images = {name: best(files, name, f"`channel={name}=PATTERN`", run) for name, files in self.images.items()}
        return _Session(
            images={name: file for name, file in images.items() if file is not None},
            labels=labels,
            anatomy=best(self.maps, "the anatomy map", "`anatomy=PATTERN`", run),
        )

    def _masks_of(self, session: str) -> list[Named]:
        """Return the masks of a session; if each run was scanned, only those of the first run that has one."""
        masks = [file for file in self.lesions if file.session == session]
        scanned = {file.run for group in self.images.values() for file in group if file.session == session}
        runs = {file.run for file in masks}
        return [file for file in masks if file.run == min(runs)] if runs <= scanned else masks


def _sorted_out(
    folder: Path, files: Sequence[Named], channels: Mapping[str, str], mask: str | None, anatomy: str | None
) -> _Parts:
    """Return which files are images, lesion masks and anatomy maps, by the user's patterns or by their names."""
    lesions = [file for file in files if file.shows_lesions] if mask is None else _matching(folder, files, mask)
    others = [file for file in files if file not in lesions]
    maps = [] if anatomy is None else _matching(folder, others, anatomy)
    others = [file for file in others if file not in maps]
    images = {name: _matching(folder, others, pattern) for name, pattern in channels.items()}
    if not channels:
        shown = [file for file in others if file.suffix not in MASKS and not _is_series(file.path)]
        names = sorted({file.channel for file in shown})
        images = {name: [file for file in shown if file.channel == name] for name in names}
    space = _common_space(folder, lesions, [file for group in images.values() for file in group])
    images = {name: [file for file in group if _lies_in(file, space)] for name, group in images.items()}
    images = {name: group for name, group in images.items() if group or channels}
    if not any(images.values()):
        raise CohortError(folder, "holds no 3D image with a BIDS name", "name images like sub-01_ses-1_T1w.nii.gz")
    return _Parts(images=images, lesions=lesions, maps=maps)


def _matching(folder: Path, files: Sequence[Named], pattern: str) -> list[Named]:
    """Return the files that match a pattern.

    Raises:
        ConfigError: if there are none; a typing error in the pattern of masks would make everybody healthy.
    """
    found = [file for file in files if file.path.relative_to(folder).match(pattern)]
    if not found:
        what = f"no file with a BIDS name in {folder} matches it"
        raise ConfigError(repr(pattern), what, "correct the pattern, such as '*_T1w.nii.gz', or drop it")
    return found


def _named_files(folder: Path) -> Iterator[Named]:
    """Yield the image files with BIDS names: raw ones first, then derivatives, each in order of their paths."""
    made = folder / "derivatives"
    for place in (folder, made, *folders_in(made)):
        for subject in folders_in(place):
            if not subject.name.startswith("sub-"):
                continue
            for path in sorted(subject.rglob("*")):
                named = parse_name(path, derived=place != folder, home=subject)
                if named is not None and is_listed(path):
                    yield named


def _is_series(path: Path) -> bool:
    """Return whether an image has more than three dimensions, as a time series has; a damaged file counts as 3D."""
    try:
        header = read_header(path)
    except CohortError:
        return False
    return header is not None and any(size > 1 for size in header.get_data_shape()[3:])


def _common_space(folder: Path, lesions: Sequence[Named], images: Sequence[Named]) -> str:
    """Return the space of all lesion masks; without masks the subject's own, or that of all images.

    Raises:
        CohortError: if there are several.
    """
    spaces = sorted({file.space for file in lesions or images})
    if not lesions and "" in spaces:
        return ""
    if len(spaces) > 1:
        what = f"has masks or images in several spaces: {', '.join(space or 'its own' for space in spaces)}"
        raise CohortError(folder, what, "choose one by patterns, such as `mask=*_space-orig_*mask.nii.gz`")
    return spaces[0] if spaces else ""


def _lies_in(file: Named, space: str) -> bool:
    """Return whether an image lies in a space; one that is named after a suffix is that image's own."""
    return file.space == space or (not file.space and file.suffix == space)


def _best(files: Sequence[Named], what: str, option: str, *, run: int) -> Named | None:
    """Return the file that comes first, see :func:`read_bids`; ``None`` if there are no files.

    Raises:
        CohortError: if two come first.
    """

    def rank(file: Named) -> tuple[bool, bool, int, int]:
        return file.derived, file.run != run, file.run, len(file.entities)

    ordered = sorted(files, key=rank)
    if len(ordered) > 1 and rank(ordered[0]) == rank(ordered[1]):
        names = f"{ordered[0].path.name}, {ordered[1].path.name}"
        raise CohortError(ordered[0].session, f"has several files for {what} ({names})", f"choose one with {option}")
    return ordered[0] if ordered else None


def _tell_unused(files: Sequence[Named], sessions: Iterable[_Session], on_note: OnNote) -> None:
    """Tell how many files of which kind are not used."""
    used = {file.path for session in sessions for file in session.files}
    kinds = Counter(_kind(file) for file in files if file.path not in used)
    if kinds:
        told = ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items()))
        on_note(f"files not used: {told}; choose others with `channel`, `mask` or `anatomy`")


def _kind(file: Named) -> str:
    """Return the name of a file without its subject, session and run."""
    kept = [f"{key}-{value}" for key, value in file.entities.items() if key not in ("sub", "ses", "run")]
    return "_".join([*kept, file.suffix])
