"""A tiny simulated cohort: bright blobs in an ellipsoid brain on a dark background, as an nnU-Net folder.

It takes a fraction of a second to write. For simulated heads that look like scans, see
:func:`~lesionforge.make_template_cohort`.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lesionforge.cohort.case import Annotation, Case, Cohort

LESION = {"background": 0, "lesion": 1}
NESTED = {"background": 0, "oedema": 1, "core": 2}
SHAPES = {2: (64, 64), 3: (32, 32, 16)}


def tiny_cohort(
    folder: Path,
    *,
    spatial_dims: int,
    n_subjects: int = 4,
    channels: Sequence[str] = ("FLAIR",),
    labels: Mapping[str, int] = LESION,
    n_healthy: int = 0,
    n_unknown: int = 0,
    cases_per_subject: int = 1,
    missing: Mapping[str, Sequence[str]] | None = None,
    shape: Sequence[int] | None = None,
    affine: NDArray[np.float64] | None = None,
    anatomy: bool = False,
    name: str = "Tiny",
    seed: int = 0,
) -> Cohort:
    """Write an nnU-Net raw folder of simulated scans with ``cases.csv`` and return it as a cohort.

    The cases are ``case_000``, ``case_001``, … of the subjects ``sub_00``, ``sub_01``, …. The last ``n_unknown``
    subjects have no label and lie in ``imagesTs``; the ``n_healthy`` subjects before them are lesion-free; all others
    have one to three lesions, with every class present. 2D images are PNG (1 mm pixels); 3D images are NIfTI (int16, 2
    mm voxels).

    Args:
        folder: dataset folder to write.
        spatial_dims: 2 or 3.
        n_subjects: total number of subjects, including healthy and unannotated ones.
        channels: channel names; each has its own contrast, and lesions are bright in all.
        labels: class name → label value; class 2 lies inside class 1, and so on.
        n_healthy: number of subjects annotated as lesion-free (all-zero label file).
        n_unknown: number of subjects without annotation.
        cases_per_subject: number of cases per subject.
        missing: case id → channels whose file is a placeholder, listed in ``missing_channels``.
        shape: number of voxels per axis; 64×64 or 32×32×16 by default.
        affine: affine of the NIfTI files; 2 mm voxels without rotation by default.
        anatomy: also write ``anatomyTr`` with label maps: 0 outside, 1 outer rim of the brain, 2 inner brain.
        name: name of the cohort.
        seed: seed of the simulation.
    """
    shape = tuple(shape or SHAPES[spatial_dims])
    affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
    ending = ".png" if spatial_dims == 2 else ".nii.gz"
    cases = []
    for index in range(n_subjects * cases_per_subject):
        subject = index // cases_per_subject
        annotation = Annotation.LESION
        if subject >= n_subjects - n_unknown - n_healthy:
            annotation = Annotation.LESION_FREE if subject < n_subjects - n_unknown else Annotation.UNKNOWN
        case_id = f"case_{index:03d}"
        absent = (missing or {}).get(case_id, ())
        images = folder / ("imagesTs" if annotation is Annotation.UNKNOWN else "imagesTr")
        rng = np.random.default_rng((seed, index))
        label, brain = simulate_label(shape, len(labels) - 1 if annotation is Annotation.LESION else 0, rng)
        for number in range(len(channels)):
            image = simulate_image(label, brain, 90.0 + 15.0 * number, rng)
            write_array(images / f"{case_id}_{number:04d}{ending}", image, affine)
        label_path = folder / "labelsTr" / f"{case_id}{ending}"
        if annotation is not Annotation.UNKNOWN:
            write_array(label_path, label.astype(np.uint8), affine)
        anatomy_path = folder / "anatomyTr" / f"{case_id}{ending}"
        if anatomy:
            write_array(anatomy_path, brain + ndimage.binary_erosion(brain, iterations=2).astype(np.uint8), affine)
        cases.append(
            Case(
                case_id=case_id,
                subject_id=f"sub_{subject:02d}",
                images={
                    channel: images / f"{case_id}_{number:04d}{ending}"
                    for number, channel in enumerate(channels)
                    if channel not in absent
                },
                annotation=annotation,
                label=None if annotation is Annotation.UNKNOWN else label_path,
                anatomy=anatomy_path if anatomy else None,
            )
        )
    _write_tables(folder, cases, channels, labels, ending)
    return Cohort(name=name, channels=tuple(channels), labels=dict(labels), cases=tuple(cases))


def simulate_label(
    shape: Sequence[int], n_classes: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a lesion label of one to three nested balls (none if ``n_classes`` is 0), and the brain mask."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    brain = (np.square(grid).sum(0) < 0.8**2).astype(np.uint8)
    label = np.zeros(shape, np.uint8)
    for _ in range(int(rng.integers(1, 4)) if n_classes else 0):
        direction = rng.normal(size=len(shape))
        centre = 0.4 * rng.random() * direction / np.linalg.norm(direction)
        distance = np.sqrt(np.square(grid - centre.reshape(-1, *[1] * len(shape))).sum(0))
        radius = rng.uniform(0.2, 0.32)
        for value in range(1, n_classes + 1):
            inside = distance < radius * (1 - (value - 1) / n_classes * 0.7)
            label[inside] = np.maximum(label[inside], value)
    return label, brain


def simulate_image(
    label: NDArray[np.uint8], brain: NDArray[np.uint8], level: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return an image from 0 to 255: smooth brain texture around ``level``, brighter for higher labels, 0 outside."""
    texture = ndimage.gaussian_filter(rng.normal(size=label.shape), 2)
    noise = rng.normal(0, 3, label.shape)
    bright = 50.0 * ndimage.gaussian_filter(label.astype(float), 0.5)
    return np.clip((level + 10 * texture / texture.std() + noise + bright) * brain, 0, 255)


def write_array(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> None:
    """Write an array as 8-bit PNG or as NIfTI (int16, or uint8 if it is), according to the file ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(np.rint(array).astype(np.uint8)).save(path)
        return
    stored = array if array.dtype == np.uint8 else np.rint(array).astype(np.int16)
    nib.save(nib.Nifti1Image(stored, np.eye(4) if affine is None else affine), path)


def _write_tables(
    folder: Path, cases: Sequence[Case], channels: Sequence[str], labels: Mapping[str, int], ending: str
) -> None:
    description = {
        "channel_names": {str(number): channel for number, channel in enumerate(channels)},
        "labels": dict(labels),
        "numTraining": sum(case.annotation is not Annotation.UNKNOWN for case in cases),
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    with (folder / "cases.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case_id", "subject_id", "annotation", "missing_channels"])
        for case in cases:
            absent = " ".join(channel for channel in channels if channel not in case.images)
            table.writerow([case.case_id, case.subject_id, case.annotation.value, absent])
