"""Bad inputs: what was done to a good one, what a user types, and how the command must end.

A ``CASE`` among good ones is left out and named, and the others go on (exit code 1). A ``WHOLE`` request is refused in
one line before anything is written (exit code 2).
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file

from tests.cohort.dicom.files import write_series
from tests.faults.changes import Change, alone, array, at, cut, header, nifti, png, shifted, with_nan, write
from tests.faults.wrong_files import LESION, save_nifti

CASE, WHOLE = 1, 2


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A bad input.

    Attributes:
        name: says what is wrong.
        start: the good input that is changed: ``volumes``, ``slices``, ``model``, ``plan``, or an archive of ``dicom``,
            ``bids`` or ``brats``.
        change: changes a copy of it.
        command: what is typed; ``DATA``, ``MODEL``, ``PLAN`` and ``OUT`` stand for paths.
        ends: exit code.
        named: a text that the message must hold.
    """

    name: str
    start: str
    change: Change
    command: tuple[str, ...]
    ends: int
    named: str

    def __str__(self) -> str:
        return self.name


CHECK = ("check", "DATA")
IMPORT = ("import", "DATA", "OUT")
FIT = ("train", "copy_paste", "DATA", "--out", "OUT")
DRAW = ("synthesize", "MODEL", "DATA", "--out", "OUT", "--masks", "bank", "--masks-from", "DATA", "--min-volume", "1")
RUN = ("benchmark", "PLAN", "--data", "DATA", "--out", "OUT")


def bad_inputs() -> Iterator[Bad]:
    """Yield the whole catalogue."""
    yield from _volumes()
    yield from _slices()
    yield from _tables()
    yield from _descriptions()
    yield from _imports()
    yield from _archives()
    yield from _plans()
    yield from _models()
    yield from _options()


def _volumes() -> Iterator[Bad]:
    image, label = "imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz"
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    files: dict[str, Change] = {
        "empty": write("FILE.nii.gz", b""),
        "text": write("FILE.nii.gz", "no image"),
        "zeros": write("FILE.nii.gz", bytes(4000)),
        "a PNG under another ending": write("FILE.nii.gz", png(np.zeros((8, 8), np.uint8))),
        "gzip of text": write("FILE.nii.gz", gzip.compress(b"no image" * 100)),
        "gzip of nothing": write("FILE.nii.gz", gzip.compress(b"")),
        "cut to a tenth": cut("FILE.nii.gz", 0.1),
        "cut in the middle": cut("FILE.nii.gz", 0.5),
        "cut before its end": cut("FILE.nii.gz", 0.98),
        "of another magic": header("FILE.nii.gz", 344, b"abc\0"),
        "of negative size": header("FILE.nii.gz", 42, struct.pack("<h", -5)),
        "of a size beyond memory": header("FILE.nii.gz", 42, struct.pack("<3h", 32767, 32767, 32767)),
        "of an unknown type": header("FILE.nii.gz", 70, struct.pack("<h", 9999)),
        "with its data beyond the end": header("FILE.nii.gz", 108, struct.pack("<f", 1e9)),
        "with a singular sform": header("FILE.nii.gz", 280, bytes(48)),
        "with an infinite sform": header("FILE.nii.gz", 280, struct.pack("<f", np.inf) * 12),
        "complex": nifti("FILE.nii.gz", array(lambda a: a.astype(np.complex64) * 1j)),
        "in colours": nifti("FILE.nii.gz", array(lambda a: np.zeros(a.shape, rgb))),
        "of two volumes": nifti("FILE.nii.gz", array(lambda a: np.stack([a, a], -1))),
        "of another size": nifti("FILE.nii.gz", array(lambda a: a[:-2])),
        "shifted": nifti("FILE.nii.gz", shifted),
        "with NaN": nifti("FILE.nii.gz", array(with_nan)),
        "with infinity": nifti("FILE.nii.gz", array(lambda a: with_nan(a, np.inf))),
    }
    for what, change in files.items():
        for kind, path in (("an image", image), ("a label", label)):
            placed = at(change, path)
            yield Bad(name=f"{kind} {what}", start="volumes", change=placed, command=CHECK, ends=CASE, named="case_001")
            if kind == "an image":
                named = f"{kind} {what}, in training"
                yield Bad(name=named, start="volumes", change=placed, command=FIT, ends=CASE, named="case_001")
    images: dict[str, Change] = {
        "zero everywhere": nifti(image, array(lambda a: 0 * a)),
        "beyond float32": nifti(image, array(lambda a: a.astype(np.float64) * 1e300)),
    }
    labels: dict[str, Change] = {
        "of halves": nifti(label, array(lambda a: a * 0.5)),
        "of −1": nifti(label, array(lambda a: -a.astype(np.int16))),
        "of 0 and 255": nifti(label, array(lambda a: (a > 0) * np.uint8(255))),
        "of 40000": nifti(label, array(lambda a: a.astype(np.int32) * 40000)),
        "of an unknown class": nifti(label, array(lambda a: a * np.uint8(7))),
    }
    for kind, of_kind in (("an image", images), ("a label", labels)):
        for what, change in of_kind.items():
            yield Bad(name=f"{kind} {what}", start="volumes", change=change, command=CHECK, ends=CASE, named="case_001")


def _bomb() -> bytes:
    """Return a PNG that claims 60000 × 60000 pixels."""
    content = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + header + png(np.zeros((4, 4), np.uint8))[33:]


def _slices() -> Iterator[Bad]:
    jpeg = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(jpeg, format="JPEG")
    files = {
        "empty": b"",
        "text": b"no image",
        "a bare signature": b"\x89PNG\r\n\x1a\n",
        "a decompression bomb": _bomb(),
        "a JPEG under another ending": jpeg.getvalue(),
        "in colours": png(np.zeros((64, 64, 3), np.uint8) + np.arange(3, dtype=np.uint8)),
        "of another size": png(np.ones((32, 64), np.uint8)),
    }
    for what, content in files.items():
        for kind, path in (("a slice", "imagesTr/case_001_0000.png"), ("a mask", "labelsTr/case_001.png")):
            change = write(path, content)
            yield Bad(name=f"{kind} {what}", start="slices", change=change, command=CHECK, ends=CASE, named="case_001")
    half = cut("imagesTr/case_001_0000.png", 0.5)
    yield Bad(name="a slice cut", start="slices", change=half, command=CHECK, ends=CASE, named="case_001")


def _tables() -> Iterator[Bad]:
    head, row = "case_id,subject_id,annotation\n", "case_000,sub_00,lesion\n"
    tables: dict[str, bytes | str] = {
        "empty": "",
        "without case_id": "id,subject_id\ncase_000,sub_00\n",
        "with two columns of one name": "case_id,case_id\ncase_000,a\n",
        "with a nameless column": "case_id,,subject_id\ncase_000,a,b\n",
        "with a line too long": head + "case_000,sub_00,lesion,more\n",
        "with a line too short": head + "case_000,sub_00\n",
        "with one id twice": head + row + row,
        "with an unknown annotation": head + "case_000,sub_00,perhaps\n",
        "with an id that leaves the folder": head + "../../x,sub_00,lesion\n",
        "with an open quote": head + 'case_000,"sub_00,lesion\n',
        "in UTF-16": (head + row).encode("utf-16"),
        "in Latin-1": (head + "case_000,M\xfcller,lesion\n").encode("latin-1"),
        "with NUL": head + "case_000,su\0b,lesion\n",
        "with semicolons": (head + row).replace(",", ";"),
        "of a picture": png(np.zeros((8, 8), np.uint8)),
        "with a seed of 5000 digits": f"case_id,seed\ncase_000,{'9' * 5000}\n",
    }
    for what, content in tables.items():
        change = write("cases.csv", content)
        yield Bad(name=f"a table {what}", start="slices", change=change, command=CHECK, ends=WHOLE, named="cases.csv")
    roles = {
        "a list": "[]",
        "text": "pool",
        "two roles of one person": '{"pool": ["sub_00"], "final": ["sub_00"]}',
        "numbers": '{"pool": [1]}',
        "deep": '{"pool": ' + "[" * 100_000 + "]" * 100_000 + "}",
    }
    for what, text in roles.items():
        change = write("roles.json", text)
        command = (*FIT, "--role", "pool")
        yield Bad(name=f"roles: {what}", start="slices", change=change, command=command, ends=WHOLE, named="roles.json")


def _descriptions() -> Iterator[Bad]:
    good = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
    changed: dict[str, dict[str, Any]] = {
        "channels in a list": {"channel_names": ["FLAIR"]},
        "no channels": {"channel_names": {}},
        "channels that are no numbers": {"channel_names": {"a": "FLAIR"}},
        "channel numbers with a gap": {"channel_names": {"0": "FLAIR", "2": "T1"}},
        "two channels of one name": {"channel_names": {"0": "FLAIR", "1": "FLAIR"}},
        "a channel without a name": {"channel_names": {"0": " "}},
        "labels in a list": {"labels": ["background", "lesion"]},
        "labels of half numbers": {"labels": {"background": 0, "lesion": 1.5}},
        "labels of texts": {"labels": {"background": "0", "lesion": "1"}},
        "labels of truths": {"labels": {"background": False, "lesion": True}},
        "no background": {"labels": {"lesion": 1}},
        "two labels of one value": {"labels": {"background": 0, "a": 1, "b": 1}},
        "labels with a gap": {"labels": {"background": 0, "lesion": 3}},
        "regions": {"labels": {"background": 0, "whole": [1, 2], "core": 2}},
        "an ignore label": {"labels": {"background": 0, "lesion": 1, "ignore": 2}},
        "an unknown ending": {"file_ending": ".mha"},
        "an ending that is a number": {"file_ending": 5},
        "half of a letter": {"channel_names": {"0": "\ud800"}},
    }
    texts: dict[str, bytes | str] = {
        "empty": "",
        "null": "null",
        "a list": "[]",
        "cut": json.dumps(good)[:-20],
        "nested deep": "[" * 100_000,
        "in UTF-16": json.dumps(good).encode("utf-16"),
        "of version 1": json.dumps({"modality": {"0": "FLAIR"}, "labels": {"0": "background"}, "training": []}),
        **{what: json.dumps({**good, **change}) for what, change in changed.items()},
    }
    for name in good:
        texts[f"without {name}"] = json.dumps({key: value for key, value in good.items() if key != name})
    for what, content in texts.items():
        change = write("dataset.json", content)
        name = f"dataset.json: {what}"
        yield Bad(name=name, start="slices", change=change, command=CHECK, ends=WHOLE, named="dataset.json")


def _imports() -> Iterator[Bad]:
    """Yield datasets of other layouts that cannot be imported."""
    entry = {"image": "./imagesTr/case_000_0000.png", "label": "./labelsTr/case_000.png"}
    decathlon = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "lesion"}, "training": [entry]}
    changed: dict[str, dict[str, Any]] = {
        "no case": {"training": []},
        "a case without a label": {"training": [{"image": entry["image"]}]},
        "a list that is a text": {"training": "imagesTr"},
        "an image outside": {"training": [{**entry, "image": "../../secret.png"}]},
        "an image of the system": {"training": [{**entry, "image": "/etc/passwd"}]},
        "an image that is missing": {"training": [{**entry, "image": "./imagesTr/nothing.png"}]},
        "two modalities in one file": {"modality": {"0": "CT", "1": "MR"}},
        "modalities with a gap": {"modality": {"0": "CT", "2": "MR"}},
        "two classes of one name": {"labels": {"0": "background", "1": "a", "2": "a"}},
        "one case twice": {"training": [entry, entry]},
    }
    described_in = "slices/dataset.json: "
    named = {
        "an image that is missing": "slices/imagesTr/nothing.png",
        "two modalities in one file": "slices/imagesTr/case_000_0000.png",
        "no file with its ending": "slices/labelsTr/case_000.nrrd",
    }
    for what, change in changed.items():
        yield Bad(
            name=f"msd: {what}",
            start="slices",
            change=alone("dataset.json", json.dumps({**decathlon, **change})),
            command=IMPORT,
            ends=WHOLE,
            named=named.get(what, described_in),
        )
    plain = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
    described: dict[str, dict[str, Any]] = {
        "a region of texts": {"labels": {"background": 0, "whole": ["1", "2"]}},
        "regions with a gap": {"labels": {"background": 0, "whole": [1, 3]}},
        "an ignore label that is none": {"labels": {"background": 0, "lesion": 1, "ignore": "2"}},
        "no file with its ending": {"file_ending": ".nrrd"},
    }
    for what, change in described.items():
        changed_json = write("dataset.json", json.dumps({**plain, **change}))
        yield Bad(
            name=f"import: {what}",
            start="slices",
            change=changed_json,
            command=IMPORT,
            ends=WHOLE,
            named=named.get(what, described_in),
        )


def _archives() -> Iterator[Bad]:
    """Yield requests about DICOM, BIDS and BraTS that are refused as a whole."""

    def asked(start: str, name: str, named: str, *options: str, change: Change = lambda folder: None) -> Bad:
        command = (*IMPORT, "--layout", start, *options)
        return Bad(name=f"{start}: {name}", start=start, change=change, command=command, ends=WHOLE, named=named)

    def each(change: Callable[[Path], object]) -> Change:
        return lambda folder: [change(path) for path in sorted(folder.rglob("*")) if path.is_file()]

    def second(folder: Path) -> None:
        write_series(folder / "more", series=2, SeriesDescription="T2")

    def spaces(folder: Path) -> None:
        save_nifti(folder / "derivatives/x/sub-1/anat/sub-1_space-MNI_label-lesion_mask.nii.gz", LESION)

    def tumours(folder: Path) -> None:
        save_nifti(next(folder.rglob("*_seg.nii.gz")), LESION * np.uint8(7))

    names = "they are core"
    yield asked("dicom", "a structure that is not there", names, "--mask", "gtv*")
    yield asked("dicom", "a class that is not there", names, "--label", "necrosis=1")
    yield asked("dicom", "a description that is not there", "'FLAIR' (2)", "--channel", "T1=t1*")
    yield asked("dicom", "several series and no pattern", "does not say which series are the channels", change=second)
    yield asked("dicom", "no DICOM file", "holds no DICOM series", change=each(lambda path: path.write_text("x")))
    cut_all = each(lambda path: path.write_bytes(path.read_bytes()[:200]))
    yield asked("dicom", "nothing but cut files", "holds no DICOM series that is a volume: ", change=cut_all)
    yield asked("dicom", "no table", "nowhere.csv", "--series", "nowhere.csv")
    yield asked("dicom", "a table without channels", "channel", change=write("series.csv", "series\n1.2\n"))
    foreign = write("series.csv", "series,channel\n1.2,MR\n")
    yield asked("dicom", "a table of another archive", "which is no volume in the folder", change=foreign)
    yield asked("dicom", "a window without CT", "has no channel CT", "--window", "0,80")
    yield asked("dicom", "an option of another layout", "--subject-pattern", "--subject-pattern", "p\\d")
    yield asked("bids", "a mask that is not there", "*_roi.nii.gz", "--mask", "*_roi.nii.gz")
    yield asked("bids", "a channel that is not there", "*_T9.nii.gz", "--channel", "T9=*_T9.nii.gz")
    yield asked("bids", "masks in two spaces", "several spaces: its own, MNI", change=spaces)
    gone = each(lambda path: path.unlink() if "FLAIR" in path.name else None)
    yield asked("bids", "no image", "holds no 3D image with a BIDS name", change=gone)
    yield asked("brats", "values of no year", "whose meaning differs between the years", change=tumours)
    again = lambda folder: shutil.copytree(folder / "a", folder / "LGG" / "a")  # noqa: E731
    yield asked("brats", "two cases of one name", "is a second case of this name", change=again)
    yield asked("brats", "no case", "holds no case of BraTS", change=lambda folder: shutil.rmtree(folder / "a"))


def _growing() -> str:
    """Return a YAML text of 10 lines whose value has 9⁹ items."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    return "\n".join(lines)


def _plans() -> Iterator[Bad]:
    good = yaml.safe_load(PLAN)
    changed: dict[str, dict[str, Any]] = {
        "an unknown key": {"arm_s": {}},
        "an unknown baseline": {"baseline": "nothing"},
        "no arms": {"arms": {}},
        "an arm of an unknown synthesizer": {"arms": {"real": {}, "odd": {"synthesizer": "nothing"}}},
        "a synthesizer of an unknown method": {"synthesizers": {"odd": {"method": "nothing"}}},
        "an unknown score": {"primary": "beauty"},
        "no seeds": {"seeds": []},
        "steps below 1": {"training": {"steps": 0}},
        "a rate that is no number": {"task": {"learning_rate": float("nan")}},
        "a size that the network cannot take": {"task": {"roi_size": [33, 32]}},
        "an unknown option": {"task": {"filtres": [4, 8]}},
        "more subjects than there are": {"subjects": {**good["subjects"], "numbers": [99]}},
        "shares beyond 1": {"subjects": {"train": 0.9, "test": 0.9, "numbers": [1]}},
        "an arm of nothing but its share": {"arms": {"real": {"share": 1.0}}},
        "a spacing of the wrong length": {"spacing": [1.0, 1.0, 1.0]},
    }
    texts: dict[str, bytes | str] = {
        "empty": "",
        "a list": "- a\n",
        "with tabs": "arms:\n\treal: {}\n",
        "that refers to itself": "arms: &a\n  real: *a\n",
        "with an open bracket": "arms: {real: {}\n",
        "in Latin-1": b"name: M\xfcller\n" + PLAN.encode(),
        "that grows": _growing(),
        **{f"with {what}": yaml.safe_dump({**good, **change}) for what, change in changed.items()},
    }
    for what, content in texts.items():
        yield Bad(
            name=f"a plan {what}", start="plan", change=write("plan.yaml", content), command=RUN, ends=WHOLE, named=""
        )
    yield Bad(
        name="a plan that is gone",
        start="plan",
        change=lambda folder: (folder / "plan.yaml").unlink(),
        command=RUN,
        ends=WHOLE,
        named="plan.yaml",
    )


PLAN = """
subjects: {train: 0.5, test: 0.5, numbers: [1]}
task: {filters: [4, 8], roi_size: [32, 32]}
training: {steps: 2, batch_size: 2}
seeds: [0]
arms: {real: {}}
baseline: real
"""


def _models() -> Iterator[Bad]:
    def edit(**changes: Any) -> Change:
        def apply(folder: Path) -> None:
            path = folder / "model.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

        return apply

    def tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
        def apply(folder: Path) -> None:
            found = load_file(folder / "model.safetensors")
            save_file(change(found), folder / "model.safetensors")

        return apply

    def first(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda found: {name: change(a) if name.endswith("00000.image") else a for name, a in found.items()}

    slices = {"spatial_dims": 2, "channels": ["FLAIR"]}
    changes: dict[str, Change] = {
        "without model.json": lambda folder: (folder / "model.json").unlink(),
        "without weights": lambda folder: (folder / "model.safetensors").unlink(),
        "with an empty model.json": write("model.json", ""),
        "with a list for a model.json": write("model.json", "[]"),
        "of another version": edit(schema_version=99),
        "of an unknown method": edit(method="nothing"),
        "of an unknown key": edit(colour="red"),
        "without subjects": edit(training_subjects=None),
        "of spacing 0": edit(preprocessing={"spatial_dims": 2, "channels": ["FLAIR"], "spacing": [0, 0]}),
        "of a spacing beyond sense": edit(
            preprocessing={"spatial_dims": 2, "channels": ["FLAIR"], "spacing": [1e-6, 1e-6]}
        ),
        "of four dimensions": edit(preprocessing={**slices, "spatial_dims": 4}),
        "of an unknown option": edit(config={"colour": "red"}),
        "with empty weights": write("model.safetensors", b""),
        "with text for weights": write("model.safetensors", "no weights" * 10),
        "with weights cut": cut("model.safetensors", 0.7),
        "with NaN among its weights": tensors(first(lambda a: a * np.nan)),
        "with infinity among its weights": tensors(first(lambda a: a + np.inf)),
        "with weights of another shape": tensors(first(lambda a: a[0])),
        "with a weight missing": tensors(lambda found: dict(list(found.items())[1:])),
    }
    for what, change in changes.items():
        yield Bad(name=f"a model {what}", start="model", change=change, command=DRAW, ends=WHOLE, named="")


def _options() -> Iterator[Bad]:
    train, draw = FIT, DRAW
    options: dict[tuple[str, ...], str] = {
        (*train, "--set", "margin_mm"): "--set",
        (*train, "--set", "colour=red"): "colour",
        (*train, "--set", "margin_mm=wide"): "margin_mm",
        (*train, "--set", "margin_mm=-1"): "margin_mm",
        (*train, "--set", "margin_mm=.nan"): "margin_mm",
        (*train, "--set", "margin_mm=[1"): "--set",
        (*train, "--role", "pool"): "roles.json",
        (*train, "--cases", "nowhere.txt"): "nowhere.txt",
        (*train, "--subjects", "0"): "subjects",
        (*train, "--subjects", "many"): "subjects",
        (*train, "--subjects", "99"): "99",
        (*train, "--channels", "T9"): "T9",
        ("train", "nothing", "DATA", "--out", "OUT"): "nothing",
        ("train", "copy_paste", "nowhere", "--out", "OUT"): "nowhere",
        ("train", "copy_paste", "DATA", "--out", ""): "--out",
        ("train", "copy_paste", "DATA", "--out", "DATA"): "not empty",
        ("train", "copy_paste", "DATA", "--out", "DATA/dataset.json"): "dataset.json",
        (*draw, "--n", "0"): "--n",
        (*draw, "--n", "-3"): "--n",
        (*draw, "--min-volume", "nan"): "min-volume",
        (*draw, "--workers", "-1"): "workers",
        (*draw, "--blend", "full"): "full",
        (*draw, "--masks", "nothing"): "nothing",
        (*draw, "--masks", "files:nowhere"): "nowhere",
        (*draw, "--masks", "gan:nowhere"): "nowhere",
        (*draw, "--role", "final"): "roles.json",
        ("synthesize", "nowhere", "DATA", "--out", "OUT", "--masks", "bank"): "nowhere",
        ("import", "nowhere", "OUT", "--layout", "nnunet"): "nowhere",
        ("import", "DATA", "OUT", "--layout", "nothing"): "layout",
        ("import", "DATA", "OUT", "--layout", "folders", "--channel", "FLAIR"): "channel",
        ("import", "DATA", "OUT", "--layout", "folders", "--channel", "FLAIR=*.mha"): "",
        ("export", "DATA", "nowhere", "--as", "nnunet", "--out", "OUT"): "nowhere",
        ("export", "DATA", "--as", "nothing", "--out", "OUT"): "nothing",
        ("export", "DATA", "--as", "msd", "--out", "OUT"): "PNG",
        ("export", "DATA", "--as", "nnunet", "--out", "OUT"): "Dataset001_",
        ("export", "DATA", "--as", "folders", "--out", "OUT", "--folds", "99"): "99",
        ("export", "DATA", "--as", "folders", "--out", "OUT", "--ratio", "1"): "--ratio",
        ("export", "DATA", "--as", "folders", "--out", "OUT", "--ratio", "1:1", "--folds", "2"): "--ratio",
        ("export", "DATA", "--as", "folders", "--out", "OUT", "--splits", "nowhere.json"): "nowhere.json",
        ("export", "DATA", "--as", "folders", "--out", "DATA"): "not empty",
        ("bundle", "nowhere", "--out", "OUT"): "nowhere",
        ("bundle", "MODEL", "--out", "OUT", "--candidate", "epoch_001"): "epoch_001",
        ("evaluate", "nowhere", "DATA"): "nowhere",
        ("benchmark", "nothing.yaml", "--data", "DATA", "--out", "OUT"): "nothing.yaml",
        ("benchmark", "first", "--data", "nowhere", "--out", "OUT"): "nowhere",
        ("benchmark", "first", "--data", "DATA", "--out", "OUT", "--scale", "huge"): "huge",
        ("segment", "train", "DATA", "--out", "OUT", "--set", "spatial_dims=3"): "",
        ("segment", "predict", "MODEL", "DATA", "--out", "OUT"): "",
        ("heal", "MODEL", "DATA", "--out", "OUT"): "copy_paste",
    }
    for command, named in options.items():
        shown = " ".join(part for part in command if part not in ("DATA", "OUT", "MODEL"))
        yield Bad(name=shown, start="slices", change=lambda folder: None, command=command, ends=WHOLE, named=named)
