"""Simulated slices of heads for tests: what they show depends on how high they lie."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import Annotation, Case, Cohort
from tests.helpers import write_array

SIDE, SLICES = 72, 12


def head_slice(down: float, person: np.random.Generator, *, brightness: float = 1.0) -> NDArray[np.float64]:
    """Return 0 … 255: clipped bone around tissue that widens and gets dark ventricles on the way down from the top."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2, indexing="ij"))
    place = person.uniform(-0.06, 0.06, 2)
    radius = np.hypot(*((grid - place[:, None, None]) / np.array([1.0, 0.85])[:, None, None]))
    outer = 0.45 + 0.4 * np.sqrt((min(down, SLICES - 1) + 1) / SLICES)
    ventricles = np.abs(grid[1] - place[1]) < 0.02 * max(down, 0)
    image = np.where((radius < 0.4) & ventricles, 60.0, 95.0) + person.normal(0, 6, (SIDE, SIDE))
    image = np.where(radius < outer - 0.07, image * brightness, 255.0)
    return np.clip(np.where(radius < outer, image, 0), 0, 255)


def stacks(folder: Path, n_subjects: int, *, brightness: float = 1.3, annotation: str = "lesion_free") -> Cohort:
    """Write whole heads without lesions, their slices numbered from the bottom, and return them."""
    cases = []
    for subject in range(n_subjects):
        person = np.random.default_rng((1, subject))
        bright, offset = brightness * person.uniform(0.95, 1.05), person.uniform(-0.5, 0.5)
        for number in range(SLICES):
            case_id = f"h{subject:02d}_s{number:02d}"
            image = head_slice(SLICES - 1 - number + offset, person, brightness=bright)
            cases.append(_write(folder, case_id, f"h{subject:02d}", image, None, annotation))
    return Cohort(name="stacks", channels=("CT",), labels={"background": 0, "lesion": 1}, cases=tuple(cases))


def bleeds(folder: Path, n_subjects: int, *, downs: Sequence[int] = (4, 5, 6)) -> Cohort:
    """Write slices from the middle of other heads, each with a bright lesion, and return them."""
    cases = []
    for subject in range(n_subjects):
        person = np.random.default_rng((2, subject))
        bright, offset = person.uniform(0.95, 1.05), person.uniform(-0.5, 0.5)
        for down in downs:
            image, label = head_slice(down + offset, person, brightness=bright), np.zeros((SIDE, SIDE), np.uint8)
            x, y = person.integers(30, 36), person.integers(41, 44)
            label[x : x + 8, y : y + 8] = 1
            image[label > 0] = 190
            cases.append(_write(folder, f"b{subject:02d}_s{down:02d}", f"b{subject:02d}", image, label, "lesion"))
    return Cohort(name="bleeds", channels=("CT",), labels={"background": 0, "lesion": 1}, cases=tuple(cases))


def _write(
    folder: Path, case_id: str, subject: str, image: NDArray[np.float64], label: NDArray[np.uint8] | None, known: str
) -> Case:
    file, mask = folder / f"{case_id}.png", folder / f"{case_id}_mask.png"
    write_array(file, image)
    if label is not None:
        write_array(mask, label)
    return Case(
        case_id=case_id,
        subject_id=subject,
        images={"CT": file},
        annotation=Annotation(known),
        label=None if label is None else mask,
    )
