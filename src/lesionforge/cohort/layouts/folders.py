"""A folder per patient, with a file-name pattern for each channel and mask."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lesionforge.cohort.case import Cohort, ending_of, stem_of
from lesionforge.cohort.layouts.base import Layout
from lesionforge.cohort.layouts.cases_csv import check_ids
from lesionforge.cohort.layouts.exported import TABLE, exported_case, names_cases, read_facts, row_of
from lesionforge.cohort.layouts.labels import NoMask, OnNote, OnProblem, annotate, fail, keep_silent
from lesionforge.cohort.layouts.listing import FEW, counted, folders_in, images_in, is_listed
from lesionforge.cohort.layouts.subjects import subject_finder
from lesionforge.errors import CohortError, ConfigError
from lesionforge.reading import Row, read_json

CASES = "cases"
"""The folder of the patients in an export."""
EXPORTED = "folders.json"
"""Lies in an export, beside ``cases`` and ``cases.csv``."""
BIDS_OTHERS = ("code", "derivatives", "sourcedata", "stimuli")
"""Folders of a BIDS folder that are not patients."""
SCANS = 12
"""Greatest number of images in a folder that are taken for the scans of one patient."""
MASK_WORDS = ("lesion", "mask", "seg", "label", "roi")
"""In the names of files that probably are masks."""
NO_CHANNELS: Mapping[str, str] = MappingProxyType({})


def read_folders(
    folder: Path,
    *,
    channels: Mapping[str, str] = NO_CHANNELS,
    mask: str | None = None,
    anatomy: str | None = None,
    name: str | None = None,
    labels: Mapping[str, int] | None = None,
    no_mask: NoMask = "unknown",
    binary_masks: bool = False,
    subject_pattern: str | None = None,
    on_problem: OnProblem = fail,
    on_note: OnNote = keep_silent,
) -> Cohort:
    """Read a folder whose sub-folders are patients; patient, case and folder have the same name.

    Folders with BIDS names such as ``sub-01_ses-1`` and ``sub-01_ses-2`` are cases of the subject ``sub-01``.

    A pattern is a file name or a glob relative to the patient's folder: ``flair.nii.gz``, ``anat/*_T1w.nii.gz``,
    ``**/*_dwi.nii.gz``. If a channel's pattern matches a file directly in ``folder``, that folder is the only patient.
    A patient without a file for a channel has that channel missing. In a BIDS folder, masks and anatomy maps are also
    searched for in ``derivatives/PATIENT`` and ``derivatives/PIPELINE/PATIENT``. ``cases.csv`` in ``folder``, or in an
    export beside ``cases``, says who is who, and what was drawn from whom. Channels and classes of an export are those
    of its ``folders.json``, unless channels are given.

    Args:
        folder: holds the patients' folders; of an export, itself or its ``cases``.
        channels: channel name → pattern, in the order of the channels; at least one is needed, except for an export.
        mask: pattern for the lesion mask.
        anatomy: pattern for the anatomy label map.
        name: name of the cohort; the folder's name by default.
        labels: lesion classes; by default named after the masks' values (``lesion``, or ``lesion_1`` …).
        no_mask: annotation of a patient without a mask.
        binary_masks: any non-zero mask value is the lesion; write the cohort with the same option.
        subject_pattern: a regular expression that finds the subject's id at the beginning of the case id, see
            :func:`~lesionforge.cohort.layouts.subjects.subject_finder`; for folders without subjects in ``cases.csv``.
        on_problem: called with the error of each patient that is left out; raises by default.
        on_note: called with a line about images that no pattern matches.

    Raises:
        CohortError: if no patient is found, or an export has lost its ``cases.csv``.
        ConfigError: if no channel is named, a pattern is not a relative path or matches nobody's file, or subjects are
            named by ``cases.csv`` and a pattern.
    """
    if (folder / EXPORTED).is_file() and (folder / CASES).is_dir():
        name, folder = name or folder.resolve().name, folder / CASES
    exported = folder.resolve().parent / EXPORTED
    if not channels and folder.resolve().name == CASES and exported.is_file():
        channels, said = _named_by_export(exported)
        mask, anatomy = mask or _in_any(folder, "lesion.*"), anatomy or _in_any(folder, "anatomy.*")
        labels = said if labels is None else labels
    _check_patterns(folder, channels, mask, anatomy)
    rows = _facts(folder, subject_pattern)
    patients, subject = _patients(folder, channels), subject_finder(subject_pattern)
    masks: dict[str, Path] = {}
    found: dict[str, tuple[dict[str, Path], Path | None]] = {}
    facts: dict[str, Row] = {}
    for patient in patients:
        patient_id = patient.resolve().name
        try:
            images = {channel: _match(patient, pattern) for channel, pattern in channels.items()}
            present = {channel: path for channel, path in images.items() if path is not None}
            if not present:
                what = f"no file matches {', '.join(channels.values())}"
                raise CohortError(patient, what, "correct the pattern, or move this folder away")
            lesion = _match_map(patient, mask) if mask else None
            structures = _match_map(patient, anatomy) if anatomy else None
            facts[patient_id] = row_of(patient_id, rows, patient)
            facts[patient_id].setdefault("subject_id", subject(patient_id))
            found[patient_id] = present, structures
        except CohortError as problem:
            on_problem(problem)
            continue
        if lesion is not None:
            masks[patient_id] = lesion
    for channel, pattern in channels.items():
        _check_matched(folder, pattern, [images.get(channel) for images, _ in found.values()])
    _check_matched(folder, mask, [masks.get(patient_id) for patient_id in found])
    _check_matched(folder, anatomy, [structures for _, structures in found.values()])
    used = {*masks.values(), *(file for images, maps in found.values() for file in (*images.values(), maps))}
    _tell_unused([patient for patient in patients if patient.resolve().name in found], used, on_note)
    annotations, classes = annotate(masks, labels, binary_masks=binary_masks, on_problem=on_problem)
    check_ids((facts[patient_id] for patient_id in found), folder)
    cases = [
        exported_case(
            facts[patient_id],
            images=images,
            found=annotations.get(patient_id),
            no_mask=no_mask,
            label=masks.get(patient_id),
            anatomy=anatomy_file,
        )
        for patient_id, (images, anatomy_file) in found.items()
        if patient_id not in masks or patient_id in annotations
    ]
    return Cohort(name=name or folder.resolve().name, channels=tuple(channels), labels=classes, cases=tuple(cases))


class Folders(Layout):
    """One folder per patient."""

    method = "folders"
    sought = "a folder for each patient, with equal file names in all of them, or the scans of one patient"
    general = True
    read = staticmethod(read_folders)

    @classmethod
    def recognise(cls, source: Path) -> str:
        """Return whether most of the first folders hold equally named images, or the folder those of one patient."""
        source = source / CASES if (source / EXPORTED).is_file() else source
        patients = [
            [path.name for path in files] for folder in folders_in(source)[:FEW] if (files := images_in(folder))
        ]
        counts = Counter(name for names in patients for name in names)
        common = sorted(name for name, number in counts.items() if number > len(patients) / 2)
        if common and (len(patients) > 1 or len(common) <= SCANS):
            return f"its folders hold {', '.join(common)}"
        here = [path.name for path in images_in(source)]
        return f"it holds {', '.join(here)}" if 0 < len(here) <= FEW and not patients else ""


def _check_patterns(folder: Path, channels: Mapping[str, str], mask: str | None, anatomy: str | None) -> None:
    if not channels:
        raise ConfigError("`channel`", "no channel is named", f"give {_likely_options(folder)}")
    for pattern in (*channels.values(), mask, anatomy):
        if pattern is not None and (not pattern or Path(pattern).is_absolute()):
            raise ConfigError(repr(pattern), "is not a pattern inside a patient's folder", "give one, as flair.nii.gz")


def _likely_options(folder: Path) -> str:
    """Return the options that the file names of the first patient suggest."""
    files = images_in(next(filter(images_in, folders_in(folder)), folder))
    files = files if len(files) <= SCANS else []
    masks = [path for path in files if any(word in path.name.lower() for word in MASK_WORDS)]
    channels = {stem_of(path).upper(): path.name for path in files if path not in masks}
    options = [f"`channel={channel}={name}`" for channel, name in channels.items()]
    options += [f"`mask={path.name}`" for path in masks[:1]]
    return " ".join(options) or "one, as FLAIR=flair.nii.gz"


def _named_by_export(path: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Return channel → file name, and class → value, as ``folders.json`` names them.

    Raises:
        CohortError: if it does not.
    """
    content = read_json(path)
    try:
        channels = {str(channel["name"]): str(channel["file"]) for channel in content["channels"]}
        return channels, {str(name): int(value) for name, value in content["labels"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = "does not name channels and classes as the export wrote them"
        raise CohortError(path, what, "export the cohorts again, or name each `channel`") from error


def _in_any(folder: Path, pattern: str) -> str | None:
    """Return a pattern if it matches a file of any patient, else ``None``."""
    return pattern if any(_glob(patient, pattern) for patient in folders_in(folder)) else None


def _check_matched(folder: Path, pattern: str | None, files: Sequence[Path | None]) -> None:
    """Raise ``ConfigError`` for a pattern that matches no patient's file; all patients would count as healthy."""
    if pattern is not None and files and not any(files):
        what = f"no patient in {folder} has a file that matches it"
        raise ConfigError(repr(pattern), what, "correct the pattern, which starts in the patient's folder, or drop it")


def _patients(folder: Path, channels: Mapping[str, str]) -> list[Path]:
    if not folder.is_dir():
        raise CohortError(folder, "is not a folder", "name the folder that holds the patients' folders")
    if any(path.parent == folder for pattern in channels.values() for path in _glob(folder, pattern)):
        return [folder]
    patients = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if any(path.name.startswith("sub-") for path in patients):
        patients = [path for path in patients if path.name not in BIDS_OTHERS]
    if not patients:
        raise CohortError(folder, "holds no folders of patients", "name the folder that holds them")
    return patients


def _tell_unused(patients: Sequence[Path], used: Collection[Path | None], on_note: OnNote) -> None:
    """Tell how many images in the patients' folders and below are not used."""
    files = (path for patient in patients for path in sorted(patient.rglob("*")) if path not in used)
    further = [path for path in files if ending_of(path) and not path.name.startswith(".") and is_listed(path)]
    if further:
        choose = "choose others with `channel`, `mask` or `anatomy`"
        on_note(f"not used, images that no pattern matches: {counted(further)}; {choose}")


def _facts(folder: Path, subject_pattern: str | None) -> dict[str, Row]:
    """Return the rows of ``cases.csv``, which lies in the folder or, in an export, above it."""
    whole = folder.resolve()
    above = [place.parent for place in (whole, whole.parent) if place.name == CASES]
    root = next((place for place in above if (place / EXPORTED).is_file() or names_cases(place / TABLE)), whole)
    made_by = root / EXPORTED if (root / EXPORTED).is_file() else None
    return read_facts(root, made_by=made_by, subject_pattern=subject_pattern)


def _match_map(patient: Path, pattern: str) -> Path | None:
    """Return the mask or map of a patient, which may lie among the derivatives of a BIDS folder."""
    made = patient.parent / "derivatives"
    return next(filter(None, (_match(place, pattern) for place in (patient, *_derived(made, patient.name)))), None)


def _derived(folder: Path, patient: str) -> list[Path]:
    pipelines = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [place for place in (folder / patient, *(pipeline / patient for pipeline in pipelines)) if place.is_dir()]


def _match(patient: Path, pattern: str) -> Path | None:
    """Return the file of a patient that matches the pattern, or ``None``.

    Raises:
        CohortError: if several files match.
    """
    files = _glob(patient, pattern)
    if len(files) > 1:
        what = f"{len(files)} files match {pattern} ({files[0].name}, {files[1].name}, …)"
        raise CohortError(patient, what, "narrow the pattern, or give each session its own folder")
    return files[0] if files else None


def _glob(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if is_listed(path))
