"""Export as a derivative dataset of the Brain Imaging Data Structure (BIDS)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.export.base import LAYOUT, CaseFiles, Exporter, safe_names, written_files
from lesionforge.cohort.layouts.cases_csv import row_from_case
from lesionforge.cohort.layouts.exported_sessions import CLASSES
from lesionforge.cohort.layouts.labels import consecutive
from lesionforge.cohort.scan import read_label, save_label
from lesionforge.cohort.structures import FILE as STRUCTURES
from lesionforge.files import clear, write_json, write_text

BIDS_VERSION = "1.10.0"
GADOLINIUM = "ce-gadolinium_"
SUFFIXES = {
    **dict.fromkeys(("t1", "t1w"), "anat/T1w"),
    **dict.fromkeys(("t1ce", "t1c", "t1gd", "t1post"), f"anat/{GADOLINIUM}T1w"),
    **dict.fromkeys(("t2", "t2w"), "anat/T2w"),
    **dict.fromkeys(("t2s", "t2star", "t2starw"), "anat/T2starw"),
    **dict.fromkeys(("pd", "pdw"), "anat/PDw"),
    "flair": "anat/FLAIR",
    "adc": "dwi/ADC",
    **dict.fromkeys(("dwi", "trace"), "dwi/trace"),
}
"""Letters and digits of a channel → folder, entities and suffix of BIDS."""
PEOPLE = {
    "participant_id": "The subject.",
    "subject_id": "The subject, as the parents of synthetic cases name it.",
}
"""Columns of the table of subjects."""
COLUMNS = {
    "session_id": "The session; every case is one.",
    "case_id": "The case, as splits_final.json names it.",
    "annotation": "lesion: has a lesion; lesion_free: has none; unknown: nobody has said.",
    "missing_channels": "Channels that were not measured; their images are 0 everywhere.",
    "origin": "real: measured; simulated: computed from a model of the head; synthetic: a lesion was drawn into it.",
    "source_case": "The case into whose scan a lesion was drawn.",
    "mask_id": "The mask of the drawn lesion.",
    "synthesizer": "The method that drew it.",
    "seed": "The seed that it was drawn with.",
    "parents": "Subjects of the scan, of the mask, and of all that the models were fitted on.",
}
"""Columns of the tables of sessions."""
NOT_BIDS = ("splits_final.json", "dataset_*.json", "problems.csv", "missing.csv")
ONLY_LESIONS = {"background", "lesion"}
"""The classes that a mask of all lesions tells by its name."""
README = """This dataset was written by lesionforge {version}.

Images carry the description (desc) of their origin: real scans were measured, simulated ones computed from a model of
the head, and in synthetic ones a lesion was drawn into a scan. Synthetic sessions belong to the subject whose scan they
were drawn into. They may be trained on, never tested on, and no lesion in them is a finding.

sub-*_sessions.tsv says which session is which case. Masks named label-lesion hold 1 in lesions of any class and 0
elsewhere; a session without such a mask has lesions that nobody outlined.
"""


@dataclass(frozen=True, kw_only=True)
class Session:
    """The place of a case: ``sub-LABEL/ses-NUMBER``.

    Attributes:
        case: the case.
        subject: label of the subject.
        number: of the session, from 1.
    """

    case: Case
    subject: str
    number: int

    def file(self, folder: Path, kind: str, entities: str, suffix: str) -> Path:
        """Return the path of a file of the session.

        Args:
            folder: the dataset.
            kind: ``anat`` or ``dwi``.
            entities: those before ``desc-``, each with ``_`` at its end.
            suffix: with the ending of the file.
        """
        place = folder / f"sub-{self.subject}" / f"ses-{self.number:02d}" / kind
        place.mkdir(parents=True, exist_ok=True)
        stem = f"sub-{self.subject}_ses-{self.number:02d}_{entities}desc-{self.case.origin}"
        return place / f"{stem}_{suffix}"


class BIDSExporter(Exporter):
    """A derivative dataset of BIDS: a session for every case, ``desc-`` says whether it is real."""

    method = "bids"
    volumes_only = True

    @staticmethod
    def arrange(cohort: Cohort, folder: Path, *, name: str, skull_stripped: bool = False) -> dict[str, CaseFiles]:
        """Move each file to its place, with a JSON file beside it.

        Args:
            cohort: see :class:`~lesionforge.cohort.export.base.Exporter`.
            folder: likewise.
            name: likewise.
            skull_stripped: whether all voxels outside the brain are 0, which every image of BIDS has to say.
        """
        places, sessions = _places(cohort.channels), _sessions(cohort)
        arranged = {}
        for session in sessions:
            files = written_files(session.case, cohort, folder)
            images = []
            for source, channel in zip(files.images, cohort.channels, strict=True):
                place = places[channel]
                target = session.file(folder, place.kind, place.entities, f"{place.suffix}.nii.gz")
                images.append(source.rename(target))
                _describe(target, Description=f"{channel}, {session.case.origin}", SkullStripped=skull_stripped)
            label = None if files.label is None else _label(session, files.label, images[0], cohort, folder)
            arranged[session.case.case_id] = CaseFiles(images=tuple(images), label=label)
        _write_tables(folder, sessions, cohort)
        _write_description(folder, name, [place for place in places.values() if not place.known])
        clear(folder, (*LAYOUT, STRUCTURES, "dataset.json", "cases.csv"))
        return arranged


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the images of a channel lie.

    Attributes:
        kind: ``anat`` or ``dwi``.
        entities: those before ``desc-``.
        suffix: the last part of the name.
        known: whether BIDS has this suffix.
    """

    kind: str
    entities: str
    suffix: str
    known: bool


def _places(channels: Sequence[str]) -> dict[str, Place]:
    """Return the place of each channel; two with one suffix of BIDS are told apart by ``acq-``."""
    names, found = safe_names(channels), [SUFFIXES.get(_plain(channel), "") for channel in channels]
    places = {}
    for channel, target in zip(channels, found, strict=True):
        kind, _, rest = (target or f"anat/{names[channel]}").partition("/")
        entities, _, suffix = rest.rpartition("_")
        acquisition = f"acq-{names[channel]}_" if target and found.count(target) > 1 else ""
        entities = f"{acquisition}{entities}_" if entities else acquisition
        places[channel] = Place(kind=kind, entities=entities, suffix=suffix, known=bool(target))
    return places


def _plain(channel: str) -> str:
    return re.sub(r"[^a-z0-9]", "", channel.lower().replace("*", "star"))


def _sessions(cohort: Cohort) -> list[Session]:
    """Return the sessions: those of a subject are numbered, the real ones first, then by case id."""
    sessions = []
    for subject, label in safe_names(cohort.subjects).items():
        cases = sorted(cohort.of_subjects([subject]), key=lambda case: (case.derived, case.case_id))
        sessions += [Session(case=case, subject=label, number=number) for number, case in enumerate(cases, start=1)]
    return sessions


def _label(session: Session, source: Path, image: Path, cohort: Cohort, folder: Path) -> Path:
    """Write the mask of all lesions and, unless the only class is ``lesion``, a map of classes, which is returned."""
    mask = session.file(folder, "anat", "label-lesion_", "mask.nii.gz")
    uri = f"bids::{image.relative_to(folder).as_posix()}"
    about = {"Sources": [uri], "SpatialReference": uri}
    classes = consecutive(cohort.labels)
    if set(classes) <= ONLY_LESIONS:
        source.rename(mask)
        result = mask
    else:
        label, _ = read_label(source)
        save_label(mask, (label > 0).astype(np.int16), source)
        result = source.rename(session.file(folder, "anat", "", "dseg.nii.gz"))
        rows = [{"index": str(value), "name": name} for name, value in classes.items()]
        write_tsv(result.with_name(result.name.replace(".nii.gz", ".tsv")), rows)
        _describe(result, Description=CLASSES, **about)
    _describe(mask, Type="Lesion", Description="Lesions of all classes", **about)
    return result


def _describe(image: Path, **content: object) -> None:
    write_json(image.with_name(image.name.replace(".nii.gz", ".json")), content)


def _write_tables(folder: Path, sessions: Sequence[Session], cohort: Cohort) -> None:
    """Write who the subjects are, and which case each session is."""
    subjects = {session.subject: session.case.subject_id for session in sessions}
    people = [{"participant_id": f"sub-{label}", "subject_id": subject} for label, subject in subjects.items()]
    write_tsv(folder / "participants.tsv", people)
    _write_meaning(folder / "participants.json", PEOPLE)
    further = dict.fromkeys(name for session in sessions for name in session.case.extra)
    columns = {**dict.fromkeys(further, "A further column of the table of the sources."), **COLUMNS}
    names = [*COLUMNS, *(name for name in further if name not in COLUMNS)]
    for label in subjects:
        rows = []
        for session in (session for session in sessions if session.subject == label):
            row = row_from_case(session.case, cohort.channels) | {"session_id": f"ses-{session.number:02d}"}
            rows.append({name: row.get(name, "") for name in names})
        write_tsv(folder / f"sub-{label}" / f"sub-{label}_sessions.tsv", rows)
    _write_meaning(folder / "sessions.json", columns)


def _write_meaning(path: Path, columns: Mapping[str, str]) -> None:
    write_json(path, {name: {"Description": text} for name, text in columns.items()})


def _write_description(folder: Path, name: str, unknown: Iterable[Place]) -> None:
    made_by = version("lesionforge")
    content = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "lesionforge", "Version": made_by}],
    }
    write_json(folder / "dataset_description.json", content)
    write_text(folder / "README.md", README.format(version=made_by))
    ignored = [*NOT_BIDS, *(f"*_{place.suffix}.{ending}" for place in unknown for ending in ("nii.gz", "json"))]
    write_text(folder / ".bidsignore", "".join(f"{pattern}\n" for pattern in ignored))


def write_tsv(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows with the same columns, separated by tabs; an empty cell is ``n/a``, as BIDS wants it."""
    lines = [rows[0].keys(), *([" ".join(value.split()) or "n/a" for value in row.values()] for row in rows)]
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))
