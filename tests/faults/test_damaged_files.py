"""Files with bytes changed, cut or doubled at random are read, or refused in one line; nothing else is raised."""

import csv
import gzip
import io
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lesionforge.cohort.layouts.dataset_json import read_dataset_json
from lesionforge.cohort.scan import read_image, read_label
from lesionforge.errors import ConfigError, LesionforgeError
from lesionforge.reading import read_frame, read_json, read_rows, read_yaml

TIMES = 150
VOXELS = np.random.default_rng(0).integers(0, 3, (5, 6, 4))


def nifti(kind=nib.Nifti1Image, dtype=np.int16):
    return kind(VOXELS.astype(dtype), np.diag([3.0, 3, 6, 1])).to_bytes()


def png():
    stream = io.BytesIO()
    Image.fromarray(VOXELS[..., 0].astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def table():
    stream = io.StringIO()
    csv.writer(stream).writerows([["case_id", "centre"], *([f"p{n}", f"{n},ä"] for n in range(9))])
    return stream.getvalue().encode()


DATASET = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
PLAN = b"arms: &a {real: {steps: [1, 2]}}\nother: {<<: *a, b: 2.5}\nname: '\xc3\xa4'\n"


def damaged(content, rng):
    """Return content with one to four random changes, most of them near its beginning, where headers are."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(len(content) * rng.random() ** 3)
        kind = rng.integers(5)
        if kind == 0:
            content[place : place + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            content[place : place + 8] = rng.choice([b"\xff" * 8, b"\0" * 8, b"\x7f\xf0" * 4, b"\x80" * 8])
        elif kind == 2:
            del content[place : place + int(rng.integers(1, 30))]
        elif kind == 3:
            content[place:place] = content[place : place + int(rng.integers(1, 60))]
        else:
            content = content[: max(place, 1)]
    return bytes(content)


def refuses(read, path):
    """Return whether a reader refuses a file; see that it does so in one line that can be printed."""
    problem = None
    try:
        read(path)
    except LesionforgeError as error:
        problem = str(error)
    assert problem is None or ("\n" not in problem and path.parent.name in problem and problem.encode("utf-8"))
    return problem is not None


FILES = {
    "a.nii": (nifti(), [read_image, read_label]),
    "b.nii": (nifti(nib.Nifti2Image, np.float64), [read_image, read_label]),
    "c.nii.gz": (nifti(dtype=np.uint8), [read_image, read_label]),
    "d.nii.gz": (gzip.compress(nifti(), mtime=0), [read_image, read_label]),
    "e.png": (png(), [read_image, read_label]),
    "f.csv": (table(), [read_rows, read_frame]),
    "dataset.json": (json.dumps(DATASET).encode(), [read_json, lambda path: read_dataset_json(path.parent)]),
    "g.yaml": (PLAN, [lambda path: read_yaml(path, fault=ConfigError)]),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    content, readers = FILES[name]
    rng, path = np.random.default_rng(len(name)), tmp_path / name
    path.write_bytes(content)
    assert not any(refuses(read, path) for read in readers)
    refused = 0
    for _ in range(TIMES):
        path.write_bytes(damaged(content, rng))
        refused += sum(refuses(read, path) for read in readers)
    assert refused > TIMES // 10
