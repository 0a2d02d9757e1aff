"""Run every benchmark, print its table, and at the end one line for each target."""

from __future__ import annotations

import sys
from importlib import import_module

from comparison import show
from rich.console import Console

BENCHMARKS = {
    "training_step": "A training step of pix2pix through our loop and through a bare one",
    "step_3d": "A 3D training step: two crops of 64 × 64 × 32 with three channels",
    "loading": "Loading training crops",
    "volumes_4d": "Volumes of a 4D file",
    "augmentation": "Augmentation of training items",
    "carvemix": "CarveMix on 182 × 218 × 182 voxels",
    "on_the_fly": "Synthesis on the fly, 16 slices of 128 × 128, half of them with a new lesion",
    "translation": "Whole volumes drawn and healed, and masks",
    "healed_scores": "Scores of healed scans",
    "selection": "Scores of drawn images, and their drawing",
    "radial_symmetry": "Radial symmetry over 192 × 192 × 160 voxels",
    "detection": "Detection in a whole scan of 1 mm",
    "simulation": "Simulated subjects of 1 mm",
    "audit": "The search for copies among synthetic volumes",
    "memory": "Peak memory of synthesis",
    "paper_memory": "Memory of mask_cyclegan at the published size",
}


def main() -> int:
    summary = []
    for name, title in BENCHMARKS.items():
        comparisons = import_module(name).measure()
        show(title, comparisons)
        summary += [(name, row) for row in comparisons if row.target != "none"]
    console = Console(width=140)
    for name, row in summary:
        console.print(f"{row.verdict:6}  {name}, {row.name}: {row.ratio:.3g}, {row.target}")
    return 0 if all(row.met for _, row in summary) else 1


if __name__ == "__main__":
    sys.exit(main())
