"""Slices: PNG, JPEG, BMP and TIFF of one page, read as grey; PNG is written."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lesionforge.cohort.stored import SIMULATED, Stored
from lesionforge.errors import CohortError

GREY_MODES = ("1", "L", "I", "I;16", "I;16B")
"""Pillow's modes of one number for each pixel."""
REMEDY = "convert it to grey of 8 or 16 bits, or keep its range in a .nii.gz"
LABEL_REMEDY = "save it as 8-bit grey, with the classes 0, 1, 2, … as values"


def read_slice(path: Path, kind: str, *, label: bool = False) -> Stored:
    """Read a slice as uint8 or uint16. Colour whose channels are equal everywhere is grey.

    Args:
        path: the file.
        kind: its format as Pillow calls it.
        label: whether it holds classes: palette indices and values of few bits are then kept, and JPEG is refused.

    Raises:
        CohortError: if it is in colour, transparent, a blurred label, or claims too many pixels.
    """
    if label and kind == "JPEG":
        what = "is a JPEG, which blurs the edges of classes"
        raise CohortError(path, what, "export the mask as PNG, without smoothing")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=(kind,)) as image:
                mode, marked = image.mode, is_marked(image)
                palette = mode == "P" and not label
                array = np.asarray(image.convert("RGBA") if palette else image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise CohortError(path, "claims more pixels than a slice has", "crop or shrink it") from error
    if kind == "PNG" and mode not in GREY_MODES and slice_type(path) != np.uint8:
        raise CohortError(path, f"is a colour ({mode}) PNG of 16 bits", LABEL_REMEDY if label else REMEDY)
    if mode not in GREY_MODES and not (mode == "P" and label):
        array = _grey(path, f"{mode} {kind}", array, label=label)
    if label and kind == "PNG" and mode == "L":
        array = _few_bits(path, array)
    return Stored(array=_unsigned(path, array), affine=np.eye(4), simulated=marked)


def slice_type(path: Path) -> np.dtype[Any]:
    """Return the data type of the pixels of a PNG: uint16 for 16-bit grey, else uint8."""
    with path.open("rb") as file:
        start = file.read(26)
    return np.dtype(np.uint16 if start[24:25] == b"\x10" else np.uint8)


def write_png(path: Path, stored: Stored) -> None:
    """Write a slice of uint8 or uint16 as PNG."""
    info = PngInfo()
    if stored.simulated:
        info.add_text("Description", SIMULATED)
    Image.fromarray(stored.array).save(path, format="PNG", pnginfo=info)


def is_marked(image: Image.Image) -> bool:
    """Return whether a PNG is marked as simulated."""
    return bool(image.info.get("Description") == SIMULATED)


def _grey(path: Path, what: str, array: NDArray[Any], *, label: bool) -> NDArray[Any]:
    """Return the grey values of ``(x, y, channel)`` pixels: grey and alpha, RGB, or RGB and alpha."""
    count = array.shape[-1] if array.ndim == 3 else 0
    colours = array[..., : 3 if count >= 3 else 1] if count else array[..., np.newaxis]
    opaque = count not in (2, 4) or bool((array[..., -1] == 255).all())
    if not what.startswith(("LA", "RGB", "P")) or not opaque or (colours != colours[..., :1]).any():
        kind = "transparent" if not opaque else f"a colour ({what.split()[0]})"
        raise CohortError(path, f"is {kind} {what.split()[1]}", LABEL_REMEDY if label else REMEDY)
    return colours[..., 0]


def _few_bits(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Return the stored values of a PNG of grey; Pillow spreads 2 and 4 bits over 0 to 255."""
    with path.open("rb") as file:
        bits = file.read(25)[24]
    return array // (255 // (2**bits - 1)) if bits < 8 else array


def _unsigned(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """Return pixels as uint8 or uint16, whichever the file has."""
    if array.dtype in (bool, np.uint8):
        return array.astype(np.uint8)
    if array.size and (array.min() < 0 or array.max() > np.iinfo(np.uint16).max):
        raise CohortError(path, f"holds values from {array.min()} to {array.max()}", REMEDY)
    return array.astype(np.uint16)
