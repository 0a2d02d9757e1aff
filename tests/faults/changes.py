"""Changes that make a good file wrong; each is a function of the folder in which it lies."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

Change = Callable[[Path], object]


def write(path: str, content: bytes | str) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / path).write_bytes(data)


def alone(path: str, content: str) -> Change:
    """Write a file into a folder without a table of its cases."""

    def apply(folder: Path) -> None:
        (folder / "cases.csv").unlink()
        write(path, content)(folder)

    return apply


def nifti(path: str, change: Callable[[nib.Nifti1Image], nib.Nifti1Image]) -> Change:
    def apply(folder: Path) -> None:
        image = nib.load(folder / path)
        made = change(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header))
        (folder / path).write_bytes(gzip.compress(made.to_bytes()))

    return apply


def array(change: Callable[[Any], Any]) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    return lambda image: nib.Nifti1Image(change(np.asanyarray(image.dataobj)), image.affine)


def header(path: str, offset: int, content: bytes) -> Change:
    """Return a change of the bytes of a NIfTI header."""

    def apply(folder: Path) -> None:
        data = bytearray(gzip.decompress((folder / path).read_bytes()))
        data[offset : offset + len(content)] = content
        (folder / path).write_bytes(gzip.compress(bytes(data)))

    return apply


def cut(path: str, keep: float) -> Change:
    def apply(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: int(len(data) * keep)])

    return apply


def with_nan(array: Any, value: float = np.nan) -> Any:
    array = array.astype(np.float32)
    array[0, 0, 0] = value
    return array


def shifted(image: nib.Nifti1Image) -> nib.Nifti1Image:
    affine = image.affine.copy()
    affine[0, 3] += 9
    return nib.Nifti1Image(np.asanyarray(image.dataobj), affine)


def at(change: Change, path: str) -> Change:
    """Return a change made for ``FILE.nii.gz`` as one of the file at ``path``."""

    def apply(folder: Path) -> None:
        (folder / path).rename(folder / "FILE.nii.gz")
        change(folder)
        (folder / "FILE.nii.gz").rename(folder / path)

    return apply


def png(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array, **options).save(stream, format="PNG")
    return stream.getvalue()
