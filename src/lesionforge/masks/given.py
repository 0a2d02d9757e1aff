"""Masks from label files: drawings, or the output of another program."""

import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from lesionforge.cohort.case import Cohort, ending_of, stem_of
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.people import People
from lesionforge.cohort.scan import Scan, read_label
from lesionforge.errors import ConfigError
from lesionforge.files import sha256_of
from lesionforge.masks.bank import CroppedMask, half_of_the_smallest, read_lesion
from lesionforge.masks.base import MaskRequest, MaskSource
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.placement import crop_to_lesion


class GivenMasks(MaskSource):
    """The label files of a folder.

    A file named like a scan's case, ``CASE.nii.gz`` or ``CASE.png``, is the mask of that scan and stays in its place,
    voxel by voxel, except on lesions that the scan already has. Other scans get a random file anywhere in their region.

    Args:
        folder: the folder of label files; empty ones are ignored.
        cohort: the cohort whose subjects file names lead to (``CASE_mask``, ``CASE+CASE``, see
            :meth:`~lesionforge.cohort.people.People.behind`); any other file is its own subject.

    Raises:
        ConfigError: if the folder is missing or holds no lesion.
        CohortError: if a file cannot be read.
    """

    method = "files:DIR"

    def __init__(self, folder: Path, *, cohort: Cohort | None = None) -> None:
        if not folder.is_dir():
            raise ConfigError(folder, "there is no such folder of masks", "check the path after files:")
        people = People(() if cohort is None else cohort)
        self._paths = {stem_of(path): path for path in sorted(folder.iterdir()) if ending_of(path)}
        lesions: dict[str, CroppedMask] = {}
        for name, path in self._paths.items():
            lesion = read_lesion(path, mask_id=name, subject=name)
            if lesion is not None:
                lesions[name] = lesion
        if not lesions:
            raise ConfigError(folder, "holds no mask with a lesion", "put .nii.gz or .png label files there")
        self.lesions = lesions
        self._subjects_of = {name: people.behind(name) or frozenset({name}) for name in lesions}
        self.subjects = frozenset[str]().union(*self._subjects_of.values())

    @classmethod
    def from_request(cls, request: MaskRequest) -> Self:
        """Read the folder that the user named."""
        return cls(Path(request.argument), cohort=request.cohort)

    @cached_property
    def digest(self) -> str:  # type: ignore[override]
        """The SHA-256 of all files and their subjects."""
        files = [(name, lesion.subject, sha256_of(self._paths[name])) for name, lesion in self.lesions.items()]
        return hashlib.sha256(repr(files).encode()).hexdigest()

    def least_volume(self, scan: Scan) -> float:
        """Return half the volume of the smallest lesion of the files."""
        return self._least_volume

    @cached_property
    def _least_volume(self) -> float:
        return half_of_the_smallest((lesion.mask, lesion.spacing) for lesion in self.lesions.values())

    def draw(self, scan: Scan, rng: np.random.Generator) -> DrawnMask:
        """Draw the scan's own file if there is one, else a random file.

        Raises:
            ConfigError: if the scan's own file lies on another grid, or a random file has another number of dimensions.
        """
        own = self.lesions.get(scan.case.case_id)
        if own is None:
            name = list(self.lesions)[rng.integers(len(self.lesions))]
            return replace(self.lesions[name].drawn_for(scan), subjects=self._subjects_of[name])
        path = self._paths[own.mask_id]
        label, affine = read_label(path)
        if label.shape != scan.spatial_shape or not same_grid(label.shape, affine, scan.affine):
            raise ConfigError(path, f"is not on the grid of the scan {own.mask_id}", "resample it to that grid")
        mask, corner = crop_to_lesion(label)
        subjects = self._subjects_of[own.mask_id]
        return DrawnMask(mask=mask, mask_id=own.mask_id, subjects=subjects, corner=corner, clip=False)
