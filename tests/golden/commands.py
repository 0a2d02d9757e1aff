"""What every command makes of the built-in cohort, as hashes: the same seed gives the same bytes, release by release.

``python -m tests.golden.commands`` writes ``golden.json`` anew, for changes that are meant to change results. Sums of
floats differ between processors, so the hashes hold for the machine that the file names.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from lesionforge.training.model_folder import CRITIC
from tests.cli.commands import GAN, UNET, sets, typed

FILE = Path(__file__).with_name("golden.json")
LIBRARIES = ("copy_paste", "carvemix", "injection", "transformed_copy")
TRANSLATORS = {
    "inpaint": ("pix2pix", "--condition", "inpaint"),
    "scan": ("pix2pix", "--condition", "scan"),
    "label": ("pix2pix", "--condition", "label"),
    "spade": ("spade",),
    "cyclegan": ("cyclegan",),
}
HEALERS = {
    "pseudo_healthy_paired": ("pseudo_healthy", "--set", "segmentor_channels=[8,16]"),
    "pseudo_healthy_unpaired": ("pseudo_healthy", "--set", "segmentor_channels=[8,16]", "--unpaired"),
    "healing_gan": ("healing_gan",),
    "healing_cyclegan": ("healing_cyclegan",),
    "mask_cyclegan": ("mask_cyclegan",),
}
SMALL = ["width=0.1", "roi_size=[32,32]", "training.epoch_steps=2", "training.batch_size=2"]
HEALING = [*SMALL, "blocks=1", "critic_channels=[4,8]"]
VOLUMES = ["width=0.06", "channels=[8,16]", "roi_size=[24,24,24]", "training.epoch_steps=2", "training.batch_size=2"]
MASKS = ["size=[16,20,12]", "channels=[8,8]", "width=0.5", "latent=4", "min_voxels=1", "head_kernel=3"]
SELECT = ["segmentor.filters=[4,8]", "segmentor_steps=2", "realism.steps=1", "realism.width=0.06", "realism.side=32"]
PLAN = """
subjects: {train: 0.5, development: 0.25, test: 0.25, numbers: [3]}
task: {spatial_dims: 2, filters: [4, 8], res_units: 1, roi_size: [32, 32]}
training: {steps: 3, batch_size: 2, epoch_steps: 3, device: cpu}
seeds: [0, 1]
synthesizers:
  carvemix: {method: carvemix, options: {spatial_dims: 2}}
  copy_paste: {method: copy_paste, options: {spatial_dims: 2}, masks: bank, min_volume: 20, cases: 4}
arms:
  classical: {}
  carvemix: {synthesizer: carvemix, use: on_the_fly}
  copy_paste: {synthesizer: copy_paste, use: offline}
  finetuned: {synthesizer: copy_paste, use: offline, finetune: 0.5}
baseline: classical
control: {max_steps: 6}
"""


TABLES = ("cases.csv", "quality.csv", "realism.csv", "images.csv", "mask_scores.csv")


def machine() -> dict[str, str]:
    """Return what the bytes depend on beside the code."""
    return {
        "machine": platform.machine(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.partition("+")[0],
        "numpy": np.__version__,
    }


def golden(folder: Path) -> Iterator[tuple[str, str]]:
    """Run every command in a new folder; yield name → hash of what it makes."""
    heads = folder / "heads"
    typed("simulate", heads, "--n", "8", "--spacing", "6", "--healthy", "0.25")
    yield "simulate", hash_of(heads)
    for name in LIBRARIES:
        yield from _drawn(name, (name,), heads, folder, [])
    for name, words in TRANSLATORS.items():
        yield from _drawn(f"{name}_3d", words, heads, folder, [*VOLUMES, "spatial_dims=3"])
        yield from _drawn(f"{name}_2d", words, heads, folder, [*GAN, "spatial_dims=2"])
    for name, words in HEALERS.items():
        yield from _healed(name, words, heads, folder)
    yield from _masks(heads, folder)
    yield from _segmented(heads, folder)
    yield from _selected(heads, folder)
    yield from _studied(heads, folder)


def _drawn(name: str, words: tuple[str, ...], heads: Path, folder: Path, options: list[str]) -> Iterator[Any]:
    """Train a method and draw three cases with edited masks."""
    model, out = folder / name, folder / f"{name}_drawn"
    steps = () if name in LIBRARIES else ("--steps", "2")
    typed("train", words[0], heads, "--out", model, *words[1:], *steps, "--device", "cpu", *sets(options))
    yield f"{name}: weights", hash_of(model)
    typed("synthesize", model, heads, "--out", out, "--n", "3", "--min-volume", "50", "--masks", "edited")
    yield f"{name}: cases", hash_of(out)


def _healed(name: str, words: tuple[str, ...], heads: Path, folder: Path) -> Iterator[Any]:
    model, out = folder / name, folder / f"{name}_healed"
    typed("train", words[0], heads, "--out", model, *words[1:], "--steps", "2", "--device", "cpu", *sets(HEALING))
    yield f"{name}: weights", hash_of(model)
    typed("heal", model, heads, "--out", out, "--subjects", "3")
    yield f"{name}: cases", hash_of(out)


def _masks(heads: Path, folder: Path) -> Iterator[Any]:
    model, many = folder / "maskgan", folder / "many"
    options = [*MASKS, "training.epoch_steps=2", "training.batch_size=4"]
    typed("simulate", many, "--n", "20", "--spacing", "6", "--healthy", "0")
    typed("train", "maskgan", many, "--out", model, "--steps", "2", "--device", "cpu", *sets(options))
    yield "maskgan: weights and scores of what it draws", hash_of(model)
    for masks in ("bank", "ellipsoids"):
        drawn = folder / f"masks_{masks}"
        typed("synthesize", folder / "copy_paste", heads, "--out", drawn, "--n", "2", "--masks", masks)
        yield f"masks {masks}: cases", hash_of(drawn)


def _segmented(heads: Path, folder: Path) -> Iterator[Any]:
    for dims, size in ((2, "[32,32]"), (3, "[16,16,16]")):
        model, out = folder / f"unet_{dims}d", folder / f"predicted_{dims}d"
        options = [*UNET, f"roi_size={size}", f"spatial_dims={dims}"]
        synthetic = ("--with", folder / "copy_paste_drawn")
        typed("segment", "train", heads, "--out", model, "--steps", "2", "--device", "cpu", *synthetic, *sets(options))
        yield f"unet {dims}D: weights", hash_of(model)
        typed("segment", "predict", model, heads, "--out", out)
        yield f"unet {dims}D: predictions", hash_of(out)


def _selected(heads: Path, folder: Path) -> Iterator[Any]:
    model, out = folder / "candidates", folder / "selected"
    options = [*GAN, "spatial_dims=2", "candidates=[1,2]", "candidates_in=steps"]
    typed("train", "pix2pix", heads, "--out", model, "--condition", "label", "--device", "cpu", *sets(options))
    typed("select", model, "--against", heads, "--out", out, *sets([*SELECT, "realism.batch_size=2"]))
    yield "select: cases and scores", hash_of(out)


def _studied(heads: Path, folder: Path) -> Iterator[Any]:
    (folder / "plan.yaml").write_text(PLAN)
    typed("benchmark", folder / "plan.yaml", "--data", heads, "--out", folder / "study")
    results = pd.read_csv(folder / "study" / "results.csv")
    yield "benchmark: results.csv", hashlib.sha256(results.to_csv(index=False, header=False).encode()).hexdigest()


def hash_of(folder: Path) -> str:
    """Return the hash of the weights, images, labels and tables in a folder: of what they hold, however packed.

    The critic is left out: nothing that is drawn depends on its file.
    """
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = _content(path)
        if content is not None:
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return found.hexdigest()


def _content(path: Path) -> bytes | None:
    if path.name.endswith(".nii.gz"):
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
        return str(array.dtype).encode() + array.tobytes() + np.round(image.affine, 3).tobytes()
    if path.suffix == ".safetensors" and path.name != CRITIC:
        tensors = load_file(path)
        return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))
    if path.suffix == ".csv" and path.name in TABLES:
        return path.read_bytes()
    return None


def main() -> None:
    """Write the hashes of this version on this machine."""
    hashes = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, value in golden(Path(temporary)):
            hashes[name] = value
            print(name, value[:12], flush=True)
    FILE.write_text(json.dumps({"made_on": machine(), "hashes": hashes}, indent=1) + "\n")
    print(f"{FILE}: {len(hashes)} hashes")


if __name__ == "__main__":
    main()
