"""Export as a task of the Medical Segmentation Decathlon: ``dataset.json`` of version 1, channels in one 4D image."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.export.base import CaseFiles, Exporter, written_files
from lesionforge.cohort.image_file import read_stored
from lesionforge.cohort.layouts.decathlon import WRITTEN
from lesionforge.cohort.layouts.labels import consecutive
from lesionforge.cohort.stored import SIMULATED, Stored
from lesionforge.cohort.structures import FILE as STRUCTURES
from lesionforge.errors import OutputError
from lesionforge.files import atomic, clear, write_json


class MSDExporter(Exporter):
    """A task of the Medical Segmentation Decathlon."""

    method = "msd"
    volumes_only = True

    @staticmethod
    def arrange(cohort: Cohort, folder: Path, *, name: str) -> dict[str, CaseFiles]:
        """Put the channels of each case into one file, and write ``dataset.json``."""
        arranged = {}
        for case in cohort:
            files = written_files(case, cohort, folder)
            image = files.images[0].with_name(f"{case.case_id}{case.file_ending}")
            if len(files.images) == 1:
                files.images[0].rename(image)
            else:
                write_stack(image, files.images)
                for file in files.images:
                    file.unlink()
            arranged[case.case_id] = CaseFiles(images=(image,), label=files.label)
        write_json(folder / "dataset.json", _description(cohort, arranged, folder, name))
        clear(folder, ("anatomyTr", STRUCTURES))
        return arranged


def write_stack(target: Path, files: Sequence[Path]) -> None:
    """Write volumes of one grid as one 4D NIfTI file, and read it back.

    Stored values, type and scaling stay if all files have the same; otherwise the intensities become float32.

    Args:
        target: the file.
        files: one volume ``(x, y, z)`` for each channel; the geometry is that of the first.

    Raises:
        OutputError: if the written file does not hold the values.
    """
    parts = [read_stored(file) for file in files]
    first = parts[0]
    alike = all(part.encoding == first.encoding for part in parts)
    values = np.stack([part.array if alike else _intensities(part) for part in parts], axis=-1)
    assert first.header is not None
    header = first.header.copy()
    header.set_data_dtype(values.dtype)
    image = nib.Nifti1Image(values, None, header)
    if alike:
        image.header.set_slope_inter(first.slope, first.inter)
    if any(part.simulated for part in parts):
        image.header["descrip"] = SIMULATED.encode()
    with atomic(target) as temporary:
        nib.save(image, temporary)
        back = np.asarray(nib.load(temporary).dataobj.get_unscaled())
        if not np.array_equal(back, values, equal_nan=True):
            raise OutputError(target, "was not written correctly", "check the disk")


def _intensities(part: Stored) -> NDArray[np.float32]:
    return (part.array * np.float64(part.slope) + np.float64(part.inter)).astype(np.float32)


def _description(cohort: Cohort, arranged: Mapping[str, CaseFiles], folder: Path, name: str) -> dict[str, object]:
    def place(path: Path) -> str:
        return f"./{path.relative_to(folder).as_posix()}"

    training = [
        {"image": place(files.images[0]), "label": place(files.label)}
        for files in arranged.values()
        if files.label is not None
    ]
    test = [place(files.images[0]) for files in arranged.values() if files.label is None]
    return {
        "name": re.sub(r"^(Task|Dataset)\d+_", "", name),
        "description": WRITTEN,
        "reference": "",
        "licence": "",
        "release": "1.0",
        "tensorImageSize": "3D" if len(cohort.channels) == 1 else "4D",
        "modality": {str(number): channel for number, channel in enumerate(cohort.channels)},
        "labels": {str(value): label for label, value in consecutive(cohort.labels).items()},
        "numTraining": len(training),
        "numTest": len(test),
        "training": training,
        "test": test,
    }
