"""Bad inputs: what was done to a good one, what a user types, and how the command must end.

A ``CASE`` among good ones is left out and named, and the others go on (exit code 1). A ``WHOLE`` request is refused in
one line before anything is written (exit code 2).
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from PIL import Image
from safetensors.numpy import load_file, save_file

CASE, WHOLE = 1, 2
Change = Callable[[Path], object]


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A bad input.

    Attributes:
        name: says what is wrong.
        start: the good input that is changed: ``volumes``, ``slices``, ``model`` or ``plan``.
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
    yield from _plans()
    yield from _models()
    yield from _options()


def _write(path: str, content: bytes | str) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / path).write_bytes(data)


def _nifti(path: str, change: Callable[[nib.Nifti1Image], nib.Nifti1Image]) -> Change:
    def apply(folder: Path) -> None:
        image = nib.load(folder / path)
        made = change(nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header))
        (folder / path).write_bytes(gzip.compress(made.to_bytes()))

    return apply


def _array(change: Callable[[Any], Any]) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    return lambda image: nib.Nifti1Image(change(np.asanyarray(image.dataobj)), image.affine)


def _header(path: str, offset: int, content: bytes) -> Change:
    """Return a change of the bytes of a NIfTI header."""

    def apply(folder: Path) -> None:
        data = bytearray(gzip.decompress((folder / path).read_bytes()))
        data[offset : offset + len(content)] = content
        (folder / path).write_bytes(gzip.compress(bytes(data)))

    return apply


def _cut(path: str, keep: float) -> Change:
    def apply(folder: Path) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: int(len(data) * keep)])

    return apply


def _with_nan(array: Any, value: float = np.nan) -> Any:
    array = array.astype(np.float32)
    array[0, 0, 0] = value
    return array


def _shifted(image: nib.Nifti1Image) -> nib.Nifti1Image:
    affine = image.affine.copy()
    affine[0, 3] += 9
    return nib.Nifti1Image(np.asanyarray(image.dataobj), affine)


def _volumes() -> Iterator[Bad]:
    image, label = "imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz"
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    files: dict[str, Change] = {
        "empty": _write("FILE.nii.gz", b""),
        "text": _write("FILE.nii.gz", "no image"),
        "zeros": _write("FILE.nii.gz", bytes(4000)),
        "a PNG under another ending": _write("FILE.nii.gz", _png(np.zeros((8, 8), np.uint8))),
        "gzip of text": _write("FILE.nii.gz", gzip.compress(b"no image" * 100)),
        "gzip of nothing": _write("FILE.nii.gz", gzip.compress(b"")),
        "cut to a tenth": _cut("FILE.nii.gz", 0.1),
        "cut in the middle": _cut("FILE.nii.gz", 0.5),
        "cut before its end": _cut("FILE.nii.gz", 0.98),
        "of another magic": _header("FILE.nii.gz", 344, b"abc\0"),
        "of negative size": _header("FILE.nii.gz", 42, struct.pack("<h", -5)),
        "of a size beyond memory": _header("FILE.nii.gz", 42, struct.pack("<3h", 32767, 32767, 32767)),
        "of an unknown type": _header("FILE.nii.gz", 70, struct.pack("<h", 9999)),
        "with its data beyond the end": _header("FILE.nii.gz", 108, struct.pack("<f", 1e9)),
        "with a singular sform": _header("FILE.nii.gz", 280, bytes(48)),
        "with an infinite sform": _header("FILE.nii.gz", 280, struct.pack("<f", np.inf) * 12),
        "complex": _nifti("FILE.nii.gz", _array(lambda a: a.astype(np.complex64) * 1j)),
        "in colours": _nifti("FILE.nii.gz", _array(lambda a: np.zeros(a.shape, rgb))),
        "of two volumes": _nifti("FILE.nii.gz", _array(lambda a: np.stack([a, a], -1))),
        "of another size": _nifti("FILE.nii.gz", _array(lambda a: a[:-2])),
        "shifted": _nifti("FILE.nii.gz", _shifted),
        "with NaN": _nifti("FILE.nii.gz", _array(_with_nan)),
        "with infinity": _nifti("FILE.nii.gz", _array(lambda a: _with_nan(a, np.inf))),
    }
    for what, change in files.items():
        for kind, path in (("an image", image), ("a label", label)):
            at = _at(change, path)
            yield Bad(name=f"{kind} {what}", start="volumes", change=at, command=CHECK, ends=CASE, named="case_001")
            if kind == "an image":
                named = f"{kind} {what}, in training"
                yield Bad(name=named, start="volumes", change=at, command=FIT, ends=CASE, named="case_001")
    images: dict[str, Change] = {
        "zero everywhere": _nifti(image, _array(lambda a: 0 * a)),
        "beyond float32": _nifti(image, _array(lambda a: a.astype(np.float64) * 1e300)),
    }
    labels: dict[str, Change] = {
        "of halves": _nifti(label, _array(lambda a: a * 0.5)),
        "of −1": _nifti(label, _array(lambda a: -a.astype(np.int16))),
        "of 0 and 255": _nifti(label, _array(lambda a: (a > 0) * np.uint8(255))),
        "of 40000": _nifti(label, _array(lambda a: a.astype(np.int32) * 40000)),
        "of an unknown class": _nifti(label, _array(lambda a: a * np.uint8(7))),
    }
    for kind, of_kind in (("an image", images), ("a label", labels)):
        for what, change in of_kind.items():
            yield Bad(name=f"{kind} {what}", start="volumes", change=change, command=CHECK, ends=CASE, named="case_001")


def _at(change: Change, path: str) -> Change:
    """Return a change made for ``FILE.nii.gz`` as one of the file at ``path``."""

    def apply(folder: Path) -> None:
        (folder / path).rename(folder / "FILE.nii.gz")
        change(folder)
        (folder / "FILE.nii.gz").rename(folder / path)

    return apply


def _png(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array, **options).save(stream, format="PNG")
    return stream.getvalue()


def _bomb() -> bytes:
    """Return a PNG that claims 60000 × 60000 pixels."""
    content = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + header + _png(np.zeros((4, 4), np.uint8))[33:]


def _slices() -> Iterator[Bad]:
    jpeg = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(jpeg, format="JPEG")
    files = {
        "empty": b"",
        "text": b"no image",
        "a bare signature": b"\x89PNG\r\n\x1a\n",
        "a decompression bomb": _bomb(),
        "a JPEG under another ending": jpeg.getvalue(),
        "in colours": _png(np.zeros((64, 64, 3), np.uint8) + np.arange(3, dtype=np.uint8)),
        "of another size": _png(np.ones((32, 64), np.uint8)),
    }
    for what, content in files.items():
        for kind, path in (("a slice", "imagesTr/case_001_0000.png"), ("a mask", "labelsTr/case_001.png")):
            change = _write(path, content)
            yield Bad(name=f"{kind} {what}", start="slices", change=change, command=CHECK, ends=CASE, named="case_001")
    cut = _cut("imagesTr/case_001_0000.png", 0.5)
    yield Bad(name="a slice cut", start="slices", change=cut, command=CHECK, ends=CASE, named="case_001")


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
        "of a picture": _png(np.zeros((8, 8), np.uint8)),
        "with a seed of 5000 digits": f"case_id,seed\ncase_000,{'9' * 5000}\n",
    }
    for what, content in tables.items():
        change = _write("cases.csv", content)
        yield Bad(name=f"a table {what}", start="slices", change=change, command=CHECK, ends=WHOLE, named="cases.csv")
    roles = {
        "a list": "[]",
        "text": "pool",
        "two roles of one person": '{"pool": ["sub_00"], "final": ["sub_00"]}',
        "numbers": '{"pool": [1]}',
        "deep": '{"pool": ' + "[" * 100_000 + "]" * 100_000 + "}",
    }
    for what, text in roles.items():
        change = _write("roles.json", text)
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
        change = _write("dataset.json", content)
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
    for what, change in changed.items():
        write = _write("dataset.json", json.dumps({**decathlon, **change}))
        yield Bad(name=f"msd: {what}", start="slices", change=write, command=IMPORT, ends=WHOLE, named="error: ")
    plain = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
    described: dict[str, dict[str, Any]] = {
        "a region of texts": {"labels": {"background": 0, "whole": ["1", "2"]}},
        "regions with a gap": {"labels": {"background": 0, "whole": [1, 3]}},
        "an ignore label that is none": {"labels": {"background": 0, "lesion": 1, "ignore": "2"}},
        "no file with its ending": {"file_ending": ".nrrd"},
    }
    for what, change in described.items():
        write = _write("dataset.json", json.dumps({**plain, **change}))
        yield Bad(name=f"import: {what}", start="slices", change=write, command=IMPORT, ends=WHOLE, named="error: ")


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
            name=f"a plan {what}", start="plan", change=_write("plan.yaml", content), command=RUN, ends=WHOLE, named=""
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
        "with an empty model.json": _write("model.json", ""),
        "with a list for a model.json": _write("model.json", "[]"),
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
        "with empty weights": _write("model.safetensors", b""),
        "with text for weights": _write("model.safetensors", "no weights" * 10),
        "with weights cut": _cut("model.safetensors", 0.7),
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
