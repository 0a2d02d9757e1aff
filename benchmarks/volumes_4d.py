"""Is a compressed 4D file unpacked once for all of its volumes?

Compares the four volumes of 240 × 240 × 155 voxels of a made file, as the Decathlon keeps tumours, read one by one by
nibabel's proxy with the same four read as an import reads them.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from comparison import Comparison, alternate, show

from lesionforge.cohort.image_file import read_stored, volume_in

SHAPE, ROUNDS = (240, 240, 155, 4), 3


def measure() -> list[Comparison]:
    with TemporaryDirectory() as name:
        files = [write(Path(name) / f"{number}.nii.gz") for number in range(ROUNDS + 1)]
        ours = iter(files)

        def by_nibabel() -> None:
            image = nib.load(files[0])
            for number in range(SHAPE[3]):
                np.asarray(image.dataobj[..., number])

        def by_import() -> None:
            file = next(ours)
            for number in range(SHAPE[3]):
                read_stored(volume_in(file, number))

        pairs = alternate(ROUNDS, by_nibabel, by_import)
    return [
        Comparison(
            name="4 volumes of 240 × 240 × 155",
            first="nibabel, volume by volume",
            second="as an import reads them",
            pairs=[(first, second) for first, second in pairs],
            at_least=1.5,
        )
    ]


def write(path: Path) -> Path:
    """Write a head-sized block of noise in air, as int16."""
    voxels = np.zeros(SHAPE, np.int16)
    inside = voxels[50:190, 40:200, 20:140]
    inside[:] = np.random.default_rng(0).normal(500, 60, inside.shape)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


if __name__ == "__main__":
    show("Volumes of a 4D file", measure())
