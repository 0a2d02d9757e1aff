"""Cases and cohorts: the description of scans on disk that the rest of the package uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from lesionforge.cohort.map_maker import MapMaker
from lesionforge.errors import CohortError, ConfigError, choose_from

SIMULATED = "simulated"
"""The origin of a case of the built-in cohort, and the name of its synthesizer."""
EDIT = "edit"
"""The synthesizer of a case whose label was edited and whose image still is the scan."""

IMAGE_ENDINGS = (".nii.gz", ".nii", ".png")
"""Of the files of a cohort."""
FORMATS = {
    ".nii.gz": "NIfTI",
    ".nii": "NIfTI",
    ".png": "PNG",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".gipl": "GIPL",
    ".mgz": "MGH",
    ".mgh": "MGH",
    ".hdr": "Analyze",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
}
"""Ending → format of the image files that are read."""


def ending_of(file: str | Path) -> str:
    """Return the ending of an image file in small letters, such as ``.nii.gz``; ``""`` for any other file."""
    name = str(file).lower()
    return next((ending for ending in FORMATS if name.endswith(ending)), "")


def stem_of(file: Path) -> str:
    """Return the name of an image file without its ending."""
    return file.name[: len(file.name) - len(ending_of(file))]


class Annotation(StrEnum):
    """What is known about the lesions of a case."""

    LESION = "lesion"
    LESION_FREE = "lesion_free"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One scan session: paths and provenance, never arrays.

    Attributes:
        case_id: unique within a cohort; the stem of the case's files.
        subject_id: the person; splits are made by subject.
        images: channel name → image file. A missing channel is absent.
        annotation: whether the case has lesions, has none, or is unknown.
        label: lesion label map on the image grid, 0 = no lesion; ``None`` if the lesions are unknown, if a lesion-free
            case has no file, or if the case has a lesion but no mask of it.
        anatomy: label map of tissues or brain structures on the same grid.
        parenchyma: values of ``anatomy`` in which lesions may lie; empty = all except 0.
        fluid: values of ``anatomy`` that are fluid, by the names of the structures.
        map_maker: what made ``anatomy``; ``None`` if there is no record.
        origin: ``"real"``; ``"simulated"`` for the built-in cohort, which may be split and tested on like real scans;
            ``"synthetic"`` for cases that a synthesizer drew.
        source_case: the case whose scan a synthetic case was drawn into.
        mask_id: the mask that conditioned a synthetic case.
        synthesizer: the method or model that drew a synthetic case.
        seed: the seed that a synthetic case was drawn with.
        parents: subjects of its scan, of its mask, and of all cases that its models were fitted on.
        extra: further columns of ``cases.csv``.
        classes: class name → value that the label may hold, background included; empty = any value.
    """

    case_id: str
    subject_id: str
    images: Mapping[str, Path]
    annotation: Annotation
    label: Path | None = None
    anatomy: Path | None = None
    parenchyma: tuple[int, ...] = ()
    fluid: tuple[int, ...] = ()
    map_maker: MapMaker | None = field(default=None, compare=False)
    origin: Literal["real", "simulated", "synthetic"] = "real"
    source_case: str = ""
    mask_id: str = ""
    synthesizer: str = ""
    seed: int | None = None
    parents: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def ancestry(self) -> frozenset[str]:
        """The subject of this case and its parents."""
        return frozenset((self.subject_id, *self.parents))

    @property
    def derived(self) -> bool:
        """Whether a synthesizer drew the case from other cases, so that it may be trained on but never tested on.

        A simulated case is not derived, even if its lesion lies where the mask of a person says. A case that names a
        synthesizer or a source case is derived, whatever its ``origin``.
        """
        drawn = self.synthesizer not in ("", SIMULATED) or bool(self.source_case)
        return self.origin == "synthetic" or drawn or (self.origin == "real" and bool(self.parents))

    @property
    def awaits_drawing(self) -> bool:
        """Whether the label was edited and the image does not show it yet; such a case is no training case."""
        return self.synthesizer == EDIT

    @property
    def negative(self) -> bool:
        """Whether it was drawn as a negative: with something else than a lesion where a lesion would have been."""
        return self.extra.get("negative") == str(True)

    @property
    def outlined(self) -> bool:
        """Whether it is known where the lesions are: the case has a mask, or no lesions."""
        return self.annotation is Annotation.LESION_FREE or (
            self.annotation is Annotation.LESION and self.label is not None
        )

    @property
    def file_ending(self) -> str:
        """``.png`` for a slice, ``.nii.gz`` for a volume (a ``.nii`` file is compressed when it is written)."""
        return ".png" if any(ending_of(path) == ".png" for path in self.images.values()) else ".nii.gz"

    def has_channels(self, channels: Collection[str]) -> bool:
        """Return whether every channel has a file."""
        return all(channel in self.images for channel in channels)


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Ordered cases with the same channels and lesion classes.

    Attributes:
        name: a short name, as in ``Dataset001_Name``.
        channels: channel names, in the order of the nnU-Net file suffixes ``_0000``, ``_0001``, …
        labels: class name → integer, ``background`` = 0 included.
        cases: the cases, with unique ids.
    """

    name: str
    channels: tuple[str, ...]
    labels: Mapping[str, int]
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for case in self.cases:
            if case.case_id in seen:
                raise CohortError(case.case_id, "two cases have this id", "give every case its own id")
            seen.add(case.case_id)

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, case_id: str) -> Case:
        for case in self.cases:
            if case.case_id == case_id:
                return case
        raise CohortError(case_id, f"is no case of the cohort {self.name}", "see its cases.csv or imagesTr")

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, each once, in order of appearance."""
        return tuple(dict.fromkeys(case.subject_id for case in self.cases))

    @property
    def ancestry(self) -> frozenset[str]:
        """The subjects of all cases and their parents."""
        return frozenset[str]().union(*(case.ancestry for case in self.cases))

    def with_cases(self, cases: Collection[Case]) -> Cohort:
        """Return this cohort with other cases."""
        return replace(self, cases=tuple(cases))

    def subset(self, case_ids: Collection[str]) -> Cohort:
        """Return the named cases, in this cohort's order.

        Raises:
            CohortError: if a case does not exist.
        """
        for case_id in case_ids:
            self[case_id]
        return self.with_cases([case for case in self if case.case_id in case_ids])

    def in_order(self) -> Cohort:
        """Return the cases ordered by id, so that results do not depend on the order of rows in a table."""
        return self.with_cases(sorted(self.cases, key=lambda case: case.case_id))

    def of_subjects(self, subjects: Collection[str]) -> Cohort:
        """Return all cases of the named subjects."""
        return self.with_cases([case for case in self if case.subject_id in subjects])

    def healthy(self) -> Cohort:
        """Return the cases annotated as lesion-free, without unknown cases."""
        return self.with_cases([case for case in self if case.annotation is Annotation.LESION_FREE])

    def with_lesions(self) -> Cohort:
        """Return the cases that have a lesion and a mask of it."""
        return self.with_cases([case for case in self.annotated() if case.annotation is Annotation.LESION])

    def annotated(self) -> Cohort:
        """Return the cases that have a mask or are lesion-free."""
        return self.with_cases([case for case in self if case.outlined])

    def diagnosed(self) -> Cohort:
        """Return the cases that have a lesion, with or without a mask, or are lesion-free."""
        return self.with_cases([case for case in self if case.annotation is not Annotation.UNKNOWN])

    def having(self, channels: Collection[str]) -> Cohort:
        """Return the cases that have a file for every named channel."""
        for channel in channels:
            if list(channels).count(channel) > 1:
                raise ConfigError("channels", f"{channel} is named twice", "name every channel once")
            if channel not in self.channels:
                raise CohortError(
                    self.name,
                    f"has no channel {channel!r}",
                    choose_from(self.channels),
                )
        return self.with_cases([case for case in self if case.has_channels(channels)])

    def having_any(self, channels: Collection[str]) -> Cohort:
        """Return the cases that have a file for at least one of the named channels; see :meth:`having`."""
        self.having(channels)
        return self.with_cases([case for case in self if any(channel in case.images for channel in channels)])

    def with_channels(self, channels: Collection[str]) -> Cohort:
        """Return the cohort reduced to the named channels, in the order given."""
        cases = [
            replace(case, images={name: case.images[name] for name in channels if name in case.images}) for case in self
        ]
        return replace(self, channels=tuple(channels), cases=tuple(cases))

    def merge(self, other: Cohort) -> Cohort:
        """Return the cases of both cohorts; channels and labels must agree."""
        if (self.channels, dict(self.labels)) != (other.channels, dict(other.labels)):
            raise CohortError(other.name, f"channels or labels differ from {self.name}", "give both the same names")
        return self.with_cases(self.cases + other.cases)
