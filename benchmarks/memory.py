"""Does synthesis of many cases need more memory than that of a few?

Compares the peak memory of a process that synthesizes 1000 cases with that of one that synthesizes 20, for a small
pix2pix and for copy_paste, on small simulated volumes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import Comparison, show
from data import one_thread, slice_preprocessing, tumours, untrained_pix2pix

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.masks import make_mask_source
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.training_free.copy_paste import CopyPaste
from lesionforge.synthesizers.translation.pix2pix import Pix2PixConfig
from lesionforge.training.loop import TrainingConfig

MANY, FEW, REPEATS = 1000, 20, 1


def measure() -> list[Comparison]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        cohort = tumours(folder, n_subjects=4, spacing=6.0)
        models = save_models(cohort, folder)
        return [
            Comparison(
                name=model.name,
                first=f"{MANY} cases",
                second=f"{FEW} cases",
                pairs=[(peak_mib(model, folder, MANY), peak_mib(model, folder, FEW)) for _ in range(REPEATS)],
                at_most=1.2,
                unit="MiB",
            )
            for model in models
        ]


def save_models(cohort: Cohort, folder: Path) -> list[Path]:
    preprocessing = slice_preprocessing(cohort)
    untrained_pix2pix(cohort, preprocessing, Pix2PixConfig(roi_size=(32, 32), width=0.0625)).save(folder / "pix2pix")
    CopyPaste.fit(
        cohort,
        channels=cohort.channels,
        config={},
        training=TrainingConfig(),
        out=folder / "copy_paste",
    )
    return [folder / "pix2pix", folder / "copy_paste"]


def peak_mib(model: Path, folder: Path, n: int) -> float:
    """Return the peak memory of a process of its own that synthesizes ``n`` cases."""
    with TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, __file__, str(model), str(next(folder.glob("Dataset*"))), out, str(n)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def synthesize(model: Path, cohort_folder: Path, out: Path, n: int) -> float:
    """Synthesize ``n`` cases and return the peak memory of this process in MiB."""
    one_thread()
    cohort = read_cohort(cohort_folder)
    done = synthesize_cohort(load_synthesizer(model), cohort, make_mask_source("edited", cohort), out=out, n=n)
    assert len(done.cohort) > 0.9 * n, done.problems[0]
    return own_peak_mib()


def own_peak_mib() -> float:
    """Return the peak memory of this process.

    On Linux ``ru_maxrss`` is at least that of the process that started this one, so the kernel's own mark is read.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        print(synthesize(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
    else:
        show("Peak memory of synthesis", measure())
