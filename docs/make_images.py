"""Make the pictures of the documentation from the built-in simulated cohort.

    python docs/make_images.py [--work FOLDER] [--steps N]

Nothing but simulated scans is ever shown. The work folder keeps what was computed, so a second call only draws.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from lesionforge.cohort.sheet import CLASS_COLOURS
from matplotlib.figure import Figure
from PIL import Image

from lesionforge import (
    SYNTHESIZERS,
    Cohort,
    EditedMasks,
    MaskBank,
    TrainingConfig,
    contact_sheet,
    load_scan,
    load_synthesizer,
    make_template_cohort,
    read_cohort,
    synthesize_cohort,
)
from lesionforge.training.quiet import quiet

IMAGES = Path(__file__).parent / "images"
INPAINT = {"condition": "inpaint", "roi_size": (64, 64)}
METHODS = {"pix2pix": INPAINT, "copy_paste": {"edge": "feathered"}, "carvemix": {}}
COLOURS = 64
EXAMPLES = (2, 14)


def main() -> None:
    """Compute what is missing and draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "lesionforge-images")
    parser.add_argument("--steps", type=int, default=1200)
    arguments = parser.parse_args()
    quiet()
    IMAGES.mkdir(exist_ok=True)
    cohort = simulated(arguments.work)
    sheet = contact_sheet(cohort, arguments.work / "sheet.png", n_cases=8, dpi=90)
    save(Image.open(sheet), IMAGES / "cohort.png")
    drawn = {name: synthetic(name, cohort, arguments.work, steps=arguments.steps) for name in METHODS}
    before_after(cohort, drawn["pix2pix"], IMAGES / "before_after.png")
    methods(cohort, drawn, IMAGES / "methods.png")


def simulated(work: Path) -> Cohort:
    """Return the built-in cohort, finer than its default so that it can be looked at."""
    folder = work / "Dataset001_Simulated"
    if (folder / "dataset.json").is_file():
        return read_cohort(folder)
    return make_template_cohort(folder, n_subjects=32, spacing=2.0, workers=2)


def synthetic(method: str, cohort: Cohort, work: Path, *, steps: int) -> Cohort:
    """Return lesions that a method drew into the lesion-free subjects."""
    lesions = cohort.with_lesions()
    folder = work / method
    if not (folder / "model.json").is_file():
        SYNTHESIZERS[method].fit(
            lesions,
            channels=("FLAIR",),
            config=METHODS[method],
            training=TrainingConfig(steps=steps, batch_size=8),
            out=folder,
            resume=True,
        )
    model = load_synthesizer(folder)
    masks = EditedMasks(MaskBank(lesions)) if model.needs_mask else None
    out = work / f"synthetic_{method}"
    return synthesize_cohort(model, cohort.healthy(), masks, out=out, n=len(cohort.healthy())).cohort


def best_slice(before: Cohort, after: Cohort, number: int) -> dict[str, Any]:
    """Return the slice of a synthetic case with most lesion: scan before, scan after, label, and their window."""
    case = after.cases[number]
    old, new = load_scan(before[case.source_case], ("FLAIR",)), load_scan(case, ("FLAIR",))
    assert new.label is not None
    z = int(np.argmax(new.label.any(axis=0).any(axis=0) * (new.label > 0).sum(axis=(0, 1))))
    return {
        "before": old.image[0, ..., z].T[::-1],
        "after": new.image[0, ..., z].T[::-1],
        "label": new.label[..., z].T[::-1],
        "window": np.percentile(old.image, (0.5, 99.7)),
    }


def panel(axes: Any, shown: dict[str, Any], name: str, *, contour: bool) -> None:
    """Draw one image, with its lesion classes outlined or not."""
    low, high = shown["window"]
    axes.imshow(shown[name], cmap="gray", vmin=low, vmax=high)
    for value in np.unique(shown["label"])[1:] if contour else ():
        axes.contour(shown["label"] >= value, levels=[0.5], colors=[CLASS_COLOURS[int(value) - 1]], linewidths=0.8)
    axes.set_xticks([])
    axes.set_yticks([])


def before_after(cohort: Cohort, drawn: Cohort, out: Path) -> None:
    """Draw four scans: as they were, with the drawn lesion, and with its label."""
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    axes = figure.subplots(3, 4)
    for column, number in enumerate(np.linspace(0, len(drawn) - 1, 4).astype(int)):
        shown = best_slice(cohort, drawn, int(number))
        for row, (name, contour) in enumerate((("before", False), ("after", False), ("after", True))):
            panel(axes[row, column], shown, name, contour=contour)
    for row, text in enumerate(("lesion-free scan", "lesion drawn", "its exact label")):
        axes[row, 0].set_ylabel(text, fontsize=9)
    figure.suptitle("simulated scans, lesions drawn by pix2pix (inpaint)", fontsize=9)
    save_figure(figure, out)


def methods(cohort: Cohort, drawn: dict[str, Cohort], out: Path) -> None:
    """Draw the same scans with a lesion of each method, and with its label."""
    figure = Figure(figsize=(7.2, 8.4), layout="constrained")
    axes = figure.subplots(2 * len(EXAMPLES), len(drawn) + 1)
    for row, number in enumerate(EXAMPLES):
        for column, (name, cases) in enumerate(drawn.items(), start=1):
            shown = best_slice(cohort, cases, number)
            if column == 1:
                panel(axes[2 * row, 0], shown, "before", contour=False)
            panel(axes[2 * row, column], shown, "after", contour=False)
            panel(axes[2 * row + 1, column], shown, "after", contour=True)
            axes[0, column].set_title(name, fontsize=9)
        axes[2 * row + 1, 0].set_axis_off()
    axes[0, 0].set_title("lesion-free scan", fontsize=9)
    figure.suptitle("simulated scans; carvemix brings its own place", fontsize=9)
    save_figure(figure, out)


def save_figure(figure: Figure, out: Path) -> None:
    """Write a figure as a small PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    save(Image.open(picture), out)


def save(picture: Image.Image, out: Path) -> None:
    """Write a picture with few colours, which greys and outlines can do with."""
    small = picture.convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    small.save(out, optimize=True)
    print(f"{out}: {out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
