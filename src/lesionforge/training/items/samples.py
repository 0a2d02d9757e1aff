"""Cache of preprocessed scans, or of what is cut from them, in memory or in a temporary file; the size of items.

MONAI's caches do not fit here: ``CacheDataset`` has no limit in bytes, and ``PersistentDataset`` pickles each case and
reads all of it for every item.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from threading import Lock
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint, fingerprint
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import CohortError, OutputError, told
from lesionforge.preprocessing.geometry import between_voxels
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.progress import progress_bar

MEMORY_BYTES = 4 * 2**30
"""Bytes of samples that one call keeps in memory. The file with the other samples uses the system's page cache."""
ALIGNMENT = 64
T = TypeVar("T", bound=Any)


def measured_cases(
    cases: Cohort, channels: Sequence[str], *, on_problem: OnProblem = fail
) -> tuple[Cohort, Fingerprint]:
    """Return the readable cases, ordered by case_id, and their fingerprint.

    Args:
        cases: training cases.
        channels: image channels to use.
        on_problem: called with the error of each unreadable case, which is left out; raises the error unless given.

    Raises:
        CohortError: if no case can be read, or the label of one was edited and not drawn yet.
    """
    problems: list[CohortError] = []
    cases = cases.in_order()
    waiting = next((case for case in cases if case.awaits_drawing), None)
    if waiting is not None:
        what = "its label was edited, but its image does not show that"
        raise CohortError(waiting.case_id, what, "draw it with synthesize, `masks=own` and `blend=full`")
    with progress_bar(f"reading {cases.name}") as progress:
        facts = fingerprint(cases, channels, progress=progress, on_problem=problems.append)
    read = {measures.case_id for measures in facts.cases}
    if problems and not read:
        what = told(f"none of its {len(cases)} cases can be read", problems)
        raise CohortError(cases.name, what, "correct them; `lesionforge check` lists all")
    for problem in problems:
        on_problem(problem)
    return cases.with_cases([case for case in cases if case.case_id in read]), facts


def cached_samples(
    cases: Iterable[Case],
    preprocessing: Preprocessing,
    *,
    memory: int = MEMORY_BYTES,
    prepare: Callable[[Scan], Scan] | None = None,
) -> Sequence[Sample]:
    """Read and preprocess each case once, and return the samples; a case may lack channels.

    Samples beyond ``memory`` are written to a memory-mapped file in the folder for temporary files (``TMPDIR``), so
    only the slice or crop in use is read. The file has no name, so the system deletes it when the process ends for any
    reason.

    Args:
        cases: cases to read.
        preprocessing: transforms scans to model space.
        memory: maximum number of bytes of the arrays in memory.
        prepare: applied to each scan before preprocessing, such as
            :func:`~lesionforge.preprocessing.brain.region.with_region`.

    Raises:
        CohortError: if a case cannot be read, or its lesions are lost on the model's voxel grid.
        OutputError: if the folder for temporary files has no space left.
    """
    spill, lock, left = SpillFile[Sample](), Lock(), memory

    def read(case: Case) -> Sample | Spilled[Sample]:
        nonlocal left
        scan = load_scan(case, [channel for channel in preprocessing.channels if channel in case.images])
        sample = preprocessing.forward_known(scan if prepare is None else prepare(scan))
        check_lesions(scan, sample)
        with lock:
            left -= sum(array.nbytes for array in _arrays(sample).values())
            return sample if left >= 0 else spill.write(sample, slices=preprocessing.spatial_dims == 2)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return spill.mapped(list(pool.map(read, cases)))


def held(items: Iterable[T], *, memory: int = MEMORY_BYTES) -> list[T]:
    """Return dataclasses that hold arrays; the arrays beyond ``memory`` are memory-mapped as in :func:`cached_samples`.

    Args:
        items: the dataclasses; each is made only when the one before it is stored.
        memory: maximum number of bytes of the arrays in memory.

    Raises:
        OutputError: if the folder for temporary files has no space left.
    """
    spill, left, stored = SpillFile[T](), memory, list[T | Spilled[T]]()
    for item in items:
        left -= sum(array.nbytes for array in _arrays(item).values())
        stored.append(item if left >= 0 else spill.write(item))
    return spill.mapped(stored)


def check_lesions(scan: Scan, sample: Sample) -> None:
    """Check that a scan with lesions still has lesions in model space.

    Raises:
        CohortError: if not.
    """
    if scan.label is None or sample.label is None or not scan.label.any() or sample.label.any():
        return
    what = f"its lesions fall {between_voxels(sample.spacing)}"
    raise CohortError(scan.case.case_id, what, "leave it out, or train at a finer spacing")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Position, shape and type of an array in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]


@dataclass(frozen=True, kw_only=True)
class Spilled(Generic[T]):
    """Dataclass whose arrays are in the file; ``item`` has ``None`` in their place until the file is mapped."""

    item: T
    places: dict[str, Place]


class SpillFile(Generic[T]):
    """Temporary file without a name that holds the arrays of dataclasses, such as samples."""

    def __init__(self) -> None:
        self.file: Any = None

    def write(self, item: T, *, slices: bool = False) -> Spilled[T]:
        """Write the arrays of a dataclass to the file.

        Args:
            item: the dataclass to write.
            slices: whether volumes are read slice by slice; each slice is then stored contiguously.

        Raises:
            OutputError: if there is no space left.
        """
        arrays = _arrays(item)
        with _room():
            self.file = self.file or tempfile.TemporaryFile()  # noqa: SIM115
            places = {name: self._append(array, "F" if slices else "C") for name, array in arrays.items()}
        nothing: dict[str, Any] = dict.fromkeys(arrays)
        return Spilled(item=replace(item, **nothing), places=places)

    def _append(self, array: NDArray[Any], order: Literal["C", "F"]) -> Place:
        self.file.write(bytes(-self.file.tell() % ALIGNMENT))
        place = Place(offset=self.file.tell(), shape=array.shape, dtype=array.dtype, order=order)
        self.file.write(array.tobytes(order))
        return place

    def mapped(self, items: Sequence[T | Spilled[T]]) -> list[T]:
        """Return all dataclasses; arrays in the file are memory-mapped.

        Raises:
            OutputError: if there is no space left.
        """
        if self.file is None:
            return [item for item in items if not isinstance(item, Spilled)]
        with _room(), self.file:
            self.file.flush()
            memory = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_COPY)
        return [_from_memory(item, memory) if isinstance(item, Spilled) else item for item in items]


def _from_memory(spilled: Spilled[T], memory: mmap.mmap) -> T:
    arrays: dict[str, Any] = {
        name: np.ndarray(place.shape, place.dtype, memory, place.offset, order=place.order)
        for name, place in spilled.places.items()
    }
    return replace(spilled.item, **arrays)


def _arrays(item: Any) -> dict[str, NDArray[Any]]:
    values = {field.name: getattr(item, field.name) for field in fields(item)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot hold the prepared scans ({error.strerror})"
        raise OutputError(tempfile.gettempdir(), what, "set TMPDIR to a folder on a larger disk") from error


class ItemOptions(Protocol):
    """Options that determine the size of training items."""

    @property
    def spatial_dims(self) -> Literal[2, 3]:
        """Number of spatial axes of an item."""

    @property
    def roi_size(self) -> tuple[int, ...] | None:
        """Size of an item in voxels, or ``None`` for the default."""

    @property
    def divisor(self) -> int:
        """Number that each side must be a multiple of."""

    @property
    def smallest(self) -> int:
        """Smallest side, in voxels, that the networks accept."""

    @property
    def whole_slices(self) -> bool:
        """Whether an item of a 2D network is as large as the largest slice."""


def training_size(facts: Fingerprint, samples: Sequence[Sample], options: ItemOptions) -> tuple[int, ...]:
    """Return the size of training items in voxels.

    It is ``roi_size`` if the user chose one, else the largest slice (2D with ``whole_slices``) or the fingerprint's
    crop, rounded up to a multiple of ``divisor``.

    Args:
        facts: fingerprint of the training cases.
        samples: the training cases in model space.
        options: options of the method.
    """
    if options.roi_size is not None:
        return options.roi_size
    if options.whole_slices and options.spatial_dims == 2:
        sides = tuple(int(n) for n in np.max([sample.image.shape[1:3] for sample in samples], axis=0))
    else:
        sides = facts.roi_size(options.spatial_dims, divisor=options.divisor)
    return tuple(-(-max(n, options.smallest) // options.divisor) * options.divisor for n in sides)
