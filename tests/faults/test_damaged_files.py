"""Files with bytes changed, cut or doubled at random are read, or refused in one line; nothing else is raised."""

import csv
import gzip
import io
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from lesionforge.cohort.image_file import is_slice
from lesionforge.cohort.layouts.dataset_json import read_dataset_json
from lesionforge.cohort.layouts.dicom import read_dicom
from lesionforge.cohort.scan import read_image, read_label, save_copy
from lesionforge.errors import ConfigError, LesionforgeError
from lesionforge.reading import read_frame, read_json, read_rows, read_yaml
from tests.cohort.dicom.files import write_series

TIMES = 30
MORE_TIMES = 500
VOXELS = np.random.default_rng(0).integers(0, 3, (5, 6, 4))


def nifti(kind=nib.Nifti1Image, dtype=np.int16):
    return kind(VOXELS.astype(dtype), np.diag([3.0, 3, 6, 1])).to_bytes()


def flat(kind):
    stream = io.BytesIO()
    Image.fromarray(VOXELS[..., 0].astype(np.uint8)).save(stream, format=kind)
    return stream.getvalue()


def tiff(dtype=np.uint16, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, VOXELS.T.astype(dtype), photometric="minisblack", **options)
    return stream.getvalue()


def by_itk(folder, name, *, packed):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS.T.astype(np.int16)), str(folder / name), packed)


def pair(folder, name, kind):
    nib.save(kind(VOXELS.astype(np.int16), np.diag([3.0, 3, 6, 1])), folder / name)


def freesurfer(folder, name):
    nib.save(nib.MGHImage(VOXELS.astype(np.float32), np.eye(4)), folder / name)


def dicom(folder, name):
    write_series(folder / "series", order=[0])
    (folder / "series" / "IM0900").rename(folder / name)
    (folder / "series").rmdir()


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


def copied(path):
    save_copy(path, path.with_name("copy.png" if is_slice(path) else "copy.nii"))


def by_dicom(path):
    (case,) = read_dicom(path.parent)
    read_image(case.images["MR"])


BOTH = [read_image, read_label]
MADE = {
    "h.nrrd": (lambda folder, name: by_itk(folder, name, packed=True), BOTH),
    "i.nrrd": (lambda folder, name: by_itk(folder, name, packed=False), [*BOTH, copied]),
    "j.nhdr": (lambda folder, name: by_itk(folder, name, packed=False), BOTH),
    "k.mha": (lambda folder, name: by_itk(folder, name, packed=True), BOTH),
    "l.mha": (lambda folder, name: by_itk(folder, name, packed=False), [*BOTH, copied]),
    "m.mhd": (lambda folder, name: by_itk(folder, name, packed=False), BOTH),
    "n.mgh": (freesurfer, [*BOTH, copied]),
    "o.mgz": (freesurfer, BOTH),
    "p.hdr": (lambda folder, name: pair(folder, name, nib.AnalyzeImage), [*BOTH, copied]),
    "q.hdr": (lambda folder, name: pair(folder, name, nib.Nifti1Pair), [*BOTH, copied]),
    "r.dcm": (dicom, [by_dicom]),
}
"""Name → what writes it, perhaps with a file of data beside it, and its readers."""
OF_METAIO = (".mha", ".mhd")
"""Read by a library of ITK that prints what it thinks of a file."""
FILES = {
    "s.tif": (tiff(), [*BOTH, copied]),
    "t.tif": (tiff(np.float16), [*BOTH, copied]),
    "u.tif": (tiff(compression="zlib"), BOTH),
    "v.bmp": (flat("BMP"), [*BOTH, copied]),
    "w.jpg": (flat("JPEG"), [read_image, copied]),
    "a.nii": (nifti(), [read_image, read_label]),
    "b.nii": (nifti(nib.Nifti2Image, np.float64), [read_image, read_label]),
    "c.nii.gz": (nifti(dtype=np.uint8), [read_image, read_label]),
    "d.nii.gz": (gzip.compress(nifti(), mtime=0), [read_image, read_label]),
    "e.png": (flat("PNG"), [read_image, read_label]),
    "f.csv": (table(), [read_rows, read_frame]),
    "dataset.json": (json.dumps(DATASET).encode(), [read_json, lambda path: read_dataset_json(path.parent)]),
    "g.yaml": (PLAN, [lambda path: read_yaml(path, fault=ConfigError)]),
}


@pytest.mark.parametrize("times", [TIMES, pytest.param(MORE_TIMES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [*FILES, *MADE])
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, capfd, name, times):
    path = tmp_path / name
    if name in FILES:
        content, readers = FILES[name]
        path.write_bytes(content)
    else:
        make, readers = MADE[name]
        make(tmp_path, name)
        content = path.read_bytes()
    assert not any(refuses(read, path) for read in readers)
    rng, refused = np.random.default_rng(times), 0
    for _ in range(times):
        path.write_bytes(damaged(content, rng))
        refused += sum(refuses(read, path) for read in readers)
    assert refused > times // 10
    told = "".join(capfd.readouterr())
    assert told == "" or path.suffix in OF_METAIO
