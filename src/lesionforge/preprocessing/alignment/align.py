"""Every scan of a cohort on one grid over the MNI152 brain, the first step of the stroke paper.

Platscher, Zopes, Federau, arXiv 2010.02745: registration to MNI space, 128 × 128 × 40 voxels, four slices dropped at
either end, background cut at an intensity of 35. Its clipping and scaling are part of
:class:`~lesionforge.preprocessing.pipeline.Preprocessing`, which runs when a network is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import ndimage

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts import WriteReport, case_files, read_cohort, write_nnunet
from lesionforge.cohort.layouts.cases_csv import write_table
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan, load_scan, save_image, save_label
from lesionforge.cohort.splits import copy_roles
from lesionforge.cohort.structures import read_structures
from lesionforge.errors import CohortError, ConfigError, causes
from lesionforge.files import claim_output, one_at_a_time, scratch
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import Matrix, inverse
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.reading import Row

Background = float | Literal["auto", "none"]
Registration = Literal["moments", "ants"]

LEAST_BRAIN_DICE = 0.8
"""Between a brain and the template's; look at scans below it."""
PAPERS_CUT = 35.0
EIGHT_BIT = 255.0
CORNER = 8
"""An eighth of each axis, at all eight corners of a scan, is assumed to show air."""


@dataclass(frozen=True, kw_only=True)
class AlignReport:
    """The result of aligning a cohort.

    Attributes:
        written: the cohort, and the errors of the cases that were left out.
        poor: cases whose Dice with the template's brain is below :data:`LEAST_BRAIN_DICE` → that Dice.
    """

    written: WriteReport
    poor: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Aligner:
    """Resamples scans to a grid over the template's brain; see :func:`align_cohort`."""

    size: tuple[int, ...]
    drop: int
    background: Background
    registration: Registration

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1:
            raise ConfigError("`size`", f"{self.size} is not the size of a volume", "write, for example, 128,128,40")
        if not 0 <= 2 * self.drop < self.size[2]:
            what = f"dropping {self.drop} of {self.size[2]} slices at either end leaves none"
            raise ConfigError("`drop`", what, "choose fewer")
        if self.registration == "ants":
            from lesionforge.preprocessing.alignment.with_ants import load_ants

            load_ants("`registration=ants`")

    def to_template(self, scan: Scan, grid: TemplateGrid) -> Matrix:
        """Return the 4×4 affine from a scan's millimetres to the template's.

        Raises:
            CohortError: if no brain is found in the scan, or it cannot be registered.
        """
        if self.registration == "moments":
            return grid.from_scan(scan)
        from lesionforge.preprocessing.alignment.with_ants import affine_by_ants

        return affine_by_ants(scan, grid)

    def align(self, scan: Scan) -> Scan:
        """Return a scan on the grid, without the dropped slices.

        Images are interpolated linearly, anatomy and region by the nearest voxel. Lesions keep their volume as far as
        whole voxels can (:meth:`TemplateGrid.take`), and a lesion that is too small for that gets one voxel; the
        nearest voxel alone would lose lesions thinner than a slice.

        Raises:
            CohortError: if the scan is a slice, has no brain, loses its lesions, or lies entirely below the cut.
        """
        if scan.spatial_dims != 3:
            raise CohortError(scan.case.case_id, "is a slice, but only volumes can be aligned", "leave it out")
        scan, grid = replace(scan, region=find_region(scan)), TemplateGrid.covering(self.size)
        to_scan = inverse(self.to_template(scan, grid) @ scan.affine)
        region = ndimage.binary_fill_holes(scan.region)
        anatomy = None if scan.anatomy is None else grid.resample(scan.anatomy, to_scan, order=0)
        aligned = replace(
            scan,
            image=np.stack([self._image(scan, number, grid, to_scan) for number in range(len(scan.channels))]),
            label=None if scan.label is None else _take_all(grid, scan.label, to_scan),
            anatomy=anatomy,
            region=grid.resample(region, to_scan, order=0),
            affine=grid.affine,
        )
        kept = _without_ends(aligned, self.drop)
        if scan.label is not None and scan.label.any() and kept.label is not None and not kept.label.any():
            raise CohortError(scan.case.case_id, "its lesions lie outside the slices that are kept", "lower `drop`")
        return kept

    def _image(self, scan: Scan, number: int, grid: TemplateGrid, to_scan: Matrix) -> FloatArray:
        """Return a channel ``(x, y, z)`` on the grid with its background cut; around the scan is air."""
        image = scan.image[number]
        aligned = grid.resample(image, to_scan, order=1, outside=min(0.0, float(image.min())))
        if self.background == "none":
            return aligned
        cut = _estimate_background(image) if self.background == "auto" else self.background
        aligned[aligned < cut] = 0
        if not aligned.any():
            what = f"no intensity of channel {scan.channels[number]} reaches the background cut of {cut:g}"
            raise CohortError(scan.case.case_id, what, "choose a lower `background`, or none")
        return aligned


@one_at_a_time
def align_cohort(
    folder: Path,
    out: Path,
    *,
    size: Sequence[int] = (128, 128, 40),
    drop: int = 4,
    background: Background = "none",
    registration: Registration = "moments",
    columns: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AlignReport:
    """Write a cohort of volumes with all scans on one grid over the MNI152 brain, and ``alignment.csv``.

    Args:
        folder: the cohort folder.
        out: a new or empty folder.
        size: voxels along x, y and z of the grid that just holds the template's brain.
        drop: number of slices to drop at the top and at the bottom.
        background: intensities below this become 0; ``auto``: below 35, but in channels that end at 255 or lower,
            intensities no higher than the air in the scan's corners; ``none``: all stay.
        registration: by the ``moments`` of the brains, or starting from there by ``ants``, if antspyx is installed.
        columns: further columns of ``cases.csv`` to keep.
        progress: called with the number of finished cases and the total number.

    Raises:
        ConfigError: if an option does not fit, or antspyx is missing.
        CohortError: if the cohort cannot be read, consists of slices, or no case can be aligned.
        OutputError: if the output folder is not empty.
    """
    aligner = Aligner(size=tuple(size), drop=drop, background=background, registration=registration)
    problems: list[CohortError] = []
    cohort = read_cohort(folder, on_problem=problems.append)
    if any(case.file_ending == ".png" for case in cohort):
        raise CohortError(folder, "is a cohort of slices, but only volumes can be aligned", "name a cohort of volumes")
    claim_output(out)
    cases, rows = [], []
    with scratch(out) as temporary:
        for done, case in enumerate(cohort):
            progress(done, len(cohort))
            try:
                aligned = aligner.align(load_scan(case, [name for name in cohort.channels if name in case.images]))
                cases.append(_save(aligned, cohort, temporary))
                rows.append({"case_id": case.case_id, "registration": registration, **_measure(aligned, aligner)})
            except CohortError as problem:
                problems.append(problem)
        if not cases:
            raise CohortError(folder, f"no case could be aligned: {causes(problems)}", "correct these")
        structures = read_structures(folder)
        report = write_nnunet(
            cohort.with_cases(cases),
            out,
            missing="zero_fill",
            problems=problems,
            structures=structures,
            columns=columns,
        )
    write_table(out / "alignment.csv", rows, columns=list(rows[0]))
    copy_roles(folder, out, report.cohort.subjects)
    dice = {row["case_id"]: float(row["brain_dice"]) for row in rows}
    return AlignReport(written=report, poor={case: value for case, value in dice.items() if value < LEAST_BRAIN_DICE})


def _without_ends(scan: Scan, drop: int) -> Scan:
    """Return a scan without ``drop`` slices at either end of its last axis."""
    kept = slice(drop, scan.spatial_shape[2] - drop)
    affine = scan.affine.copy()
    affine[:3, 3] += drop * affine[:3, 2]
    parts = {name: getattr(scan, name) for name in ("image", "label", "anatomy", "region")}
    return replace(scan, affine=affine, **{name: part[..., kept] for name, part in parts.items() if part is not None})


def _take_all(grid: TemplateGrid, label: LabelArray, to_scan: Matrix) -> LabelArray:
    """Return a label map on the grid; a lesion that would be lost gets the voxel that holds most of it."""
    taken = grid.take(label, to_scan)
    from_scan = inverse(to_scan @ grid.affine)
    parts, number = ndimage.label(label > 0, structure=np.ones((3, 3, 3)))
    for part, box in zip(range(1, number + 1), ndimage.find_objects(parts), strict=True):
        voxels = np.argwhere(parts[box] == part) + [side.start for side in box]
        places = np.rint(voxels @ from_scan[:3, :3].T + from_scan[:3, 3]).astype(int)
        inside = np.all((places >= 0) & (places < np.array(grid.size)), axis=1)
        if inside.any() and not taken[tuple(places[inside].T)].any():
            found, count = np.unique(places[inside], axis=0, return_counts=True)
            taken[tuple(found[count.argmax()])] = np.bincount(label[tuple(voxels.T)]).argmax()
    return taken


def _estimate_background(image: FloatArray) -> float:
    """Return the cut of ``auto`` for a channel ``(x, y, z)``: that of the paper, or for 8 bit just above the air."""
    if image.max() > EIGHT_BIT:
        return PAPERS_CUT
    ends = [np.r_[: n // CORNER, n - n // CORNER : n] for n in image.shape]
    return float(np.nextafter(image[np.ix_(*ends)].max(initial=0), np.float32(np.inf)))


def _save(scan: Scan, cohort: Cohort, folder: Path) -> Case:
    """Write the files of an aligned scan, and return its case with their paths."""
    files, label = case_files(folder, scan.case.case_id, len(cohort.channels), ".nii.gz")
    images = {name: file for name, file in zip(cohort.channels, files, strict=True) if name in scan.channels}
    for image, file in zip(scan.image, images.values(), strict=True):
        save_image(file, image, scan.affine)
    anatomy = folder / "anatomyTr" / label.name
    if scan.label is not None:
        save_label(label, scan.label, scan.affine)
    if scan.anatomy is not None:
        save_label(anatomy, scan.anatomy, scan.affine)
    return replace(
        scan.case,
        images=images,
        label=None if scan.label is None else label,
        anatomy=None if scan.anatomy is None else anatomy,
    )


def _measure(aligned: Scan, aligner: Aligner) -> Row:
    """Return the Dice of the brain with the template's, and the share of lesions in parenchyma or brain."""
    region = aligned.region
    assert region is not None
    template = TemplateGrid.covering(aligner.size).template_brain()
    template = template[..., aligner.drop : aligner.size[2] - aligner.drop]
    dice = 2 * np.count_nonzero(region & template) / (np.count_nonzero(region) + np.count_nonzero(template))
    lesion = np.zeros(0, bool) if aligned.label is None else _lesion_places(aligned)[aligned.label > 0]
    return {"brain_dice": f"{dice:.3f}", "lesion_inside": f"{lesion.mean():.3f}" if lesion.size else ""}


def _lesion_places(aligned: Scan) -> BoolArray:
    """Return the voxels where lesions may lie: parenchyma if the anatomy is known, else the brain."""
    return find_region(replace(aligned, region=None) if aligned.anatomy is not None else aligned)
