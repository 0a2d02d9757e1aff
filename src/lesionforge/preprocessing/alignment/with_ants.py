"""Affine registration to the MNI152 template and tissue classes by Atropos, with the optional package antspyx."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import LabelArray, Scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import Matrix, inverse, mni_brain, mni_t1
from lesionforge.preprocessing.brain.region import find_region
from lesionforge.preprocessing.brain.tissue import brain_and_healthy, values_in

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SETTLED = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1", "ANTS_RANDOM_SEED": "1"}


def load_ants(option: str) -> ModuleType:
    """Return the package ``ants``.

    Args:
        option: the option that needs the package; an error names it.

    Raises:
        ConfigError: if antspyx is not installed.
    """
    try:
        import ants
    except ImportError as error:
        remedy = "pip install 'lesionforge[registration]'"
        raise ConfigError(option, f"needs the package antspyx ({error})", remedy) from error
    return ants


def affine_by_ants(scan: Scan, grid: TemplateGrid) -> Matrix:
    """Return the 4×4 affine from a scan's millimetres to the template's, by mutual information with its T1.

    The registration starts where the moments of the two brains agree: the brain in the first channel is mapped to the
    template in this way, at 2 mm, and registered there. Voxels further than 2 mm from the brain are left out, since the
    template has no skull. With one thread and a fixed seed, the same scan gives the same affine.

    Raises:
        CohortError: if no brain is found in the scan, or the registration fails.
        ConfigError: if antspyx is not installed.
    """
    ants = load_ants("`registration=ants`")
    scan = replace(scan, region=find_region(scan))
    start = grid.from_scan(scan)
    brain, affine = mni_brain()
    at_2mm = TemplateGrid(size=brain.shape, affine=affine, brain=grid.brain)
    to_scan = inverse(start @ scan.affine)
    region = at_2mm.resample(ndimage.binary_fill_holes(scan.region), to_scan, order=0)
    moved = np.where(ndimage.binary_dilation(region), at_2mm.resample(scan.image[0], to_scan, order=1), 0)
    with _settled() as folder:
        try:
            found = ants.registration(
                fixed=_image(ants, mni_t1(), affine),
                moving=_image(ants, moved, affine),
                type_of_transform="Affine",
                initial_transform="Identity",
                aff_iterations=(1000, 500, 250, 0),
                outprefix=str(folder / "found"),
            )
        except RuntimeError as error:
            remedy = "look at the scan, or use `registration=moments`"
            raise CohortError(scan.case.case_id, f"could not be registered ({error})", remedy) from error
        back = _matrix(ants.read_transform(found["fwdtransforms"][0]))
    return inverse(back) @ start


def atropos_classes(scan: Scan, *, classes: int = 3) -> LabelArray:
    """Return classes ``(x, y[, z])`` of the brain by Atropos; 1 is the darkest in the first channel, 0 is outside.

    Unlike in k-means, neighbours pull a voxel towards their class. Lesions do not take part; each lesion voxel gets the
    class with the nearest mean.

    Args:
        scan: the scan; its region counts as brain if it has one, else the brain is found. The first six channels count.
        classes: number of classes.

    Raises:
        CohortError: if no brain is found, or Atropos does not find so many classes in it.
        ConfigError: if antspyx is not installed.
    """
    ants = load_ants("`atropos`")
    brain, healthy = brain_and_healthy(scan, classes=classes)
    affine = np.diag([*scan.spacing, *[1.0] * (4 - scan.spatial_dims)])
    options = {"i": f"KMeans[{classes}]", "m": f"[0.2,{'x'.join('1' * scan.spatial_dims)}]", "c": "[5,0]"}
    with _settled():
        images = [_image(ants, channel, affine) for channel in scan.image[:6]]
        within = _image(ants, healthy.astype(np.float32), affine)
        try:
            found = ants.atropos(a=images if len(images) > 1 else images[0], x=within, **options)
        except Exception as error:  # antspyx raises no narrower one
            raise _no_classes(scan, classes) from error
    segmented = found["segmentation"].numpy()[healthy].astype(int)
    values = values_in(scan, healthy)
    if not set(range(1, classes + 1)) <= set(segmented):
        raise _no_classes(scan, classes)
    means = np.stack([values[segmented == number].mean(0) for number in range(1, classes + 1)])
    rank = np.argsort(np.argsort(means[:, 0])) + 1
    tissue = np.zeros(brain.shape, np.int16)
    tissue[brain] = rank[np.square(values_in(scan, brain)[:, None] - means).sum(-1).argmin(1)]
    tissue[healthy] = rank[segmented - 1]
    return tissue


def _no_classes(scan: Scan, classes: int) -> CohortError:
    return CohortError(scan.case.case_id, f"Atropos did not find {classes} tissues", "ask for fewer, or use `kmeans`")


@contextmanager
def _settled() -> Iterator[Path]:
    """Let ITK compute on one thread and from one seed; yield the folder of its temporary files, which is removed."""
    before, usual = {name: os.environ.get(name) for name in _SETTLED}, tempfile.tempdir
    os.environ.update(_SETTLED)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = usual
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _image(ants: ModuleType, array: NDArray[np.float32], affine: Matrix) -> Any:
    """Return an array as an ITK image, whose axes point left, back and up."""
    dims = array.ndim
    lps = _RAS_TO_LPS @ affine
    axes, origin = lps[:dims, :dims], lps[:dims, -1]
    spacing = np.linalg.norm(axes, axis=0)
    return ants.from_numpy(array, origin=origin.tolist(), spacing=spacing.tolist(), direction=axes / spacing)


def _matrix(transform: Any) -> Matrix:
    """Return the 4×4 matrix (RAS+) of an affine ITK transform, which rotates about a centre."""
    values, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    matrix = np.eye(4)
    matrix[:3, :3] = values[:9].reshape(3, 3)
    matrix[:3, 3] = values[9:] + centre - matrix[:3, :3] @ centre
    return np.asarray(_RAS_TO_LPS @ matrix @ _RAS_TO_LPS)
