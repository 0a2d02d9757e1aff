"""Small cohorts, models and a plan on which every command runs in seconds."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from lesionforge.cohort.layouts import write_nnunet
from tests.cli.commands import GAN, sets
from tests.heads import bleeds, stacks
from tests.helpers import tiny_cohort

HEALER = [
    *("width=0.1", "blocks=1", "critic_channels=[4,8]", "roi_size=[32,32]", "segmentor_channels=[8,16]"),
    *("training.epoch_steps=2", "training.batch_size=2"),
]
PLAN = """
subjects: {train: 0.5, development: 0.25, test: 0.25, numbers: [3]}
task: {spatial_dims: 2, filters: [4, 8], res_units: 1, roi_size: [32, 32]}
training: {steps: 2, batch_size: 2, epoch_steps: 2, device: cpu}
seeds: [0, 1]
synthesizers:
  carvemix: {method: carvemix, options: {spatial_dims: 2}}
  copy_paste: {method: copy_paste, options: {spatial_dims: 2}, masks: bank, min_volume: 20, cases: 4}
arms:
  classical: {}
  carvemix: {synthesizer: carvemix, use: on_the_fly}
  copy_paste: {synthesizer: copy_paste, use: offline}
baseline: classical
control: {max_steps: 4}
"""


def write_inputs(folder: Path, commands: Sequence[str], *, run: Callable[[Sequence[str | Path]], None]) -> None:
    """Write what the commands read.

    Args:
        folder: a new folder.
        commands: for which models are trained.
        run: runs ``lesionforge`` with arguments, for the models.
    """
    folder.mkdir()
    slices = folder / "slices"
    tiny_cohort(slices, spatial_dims=2, n_subjects=8, n_healthy=2)
    for name, cohort in (("Healthy", stacks(folder / "h", 3)), ("Bleeds", bleeds(folder / "b", 3))):
        write_nnunet(cohort, folder / name)
    for case in tiny_cohort(folder / "volumes", spatial_dims=3, n_subjects=6):
        patient = folder / "folders" / case.subject_id
        patient.mkdir(parents=True)
        shutil.copy(case.images["FLAIR"], patient / "flair.nii.gz")
        assert case.label is not None
        shutil.copy(case.label, patient / "lesion.nii.gz")
    (folder / "plan.yaml").write_text(PLAN)
    if "import dicom" in commands:
        run(["export", folder / "volumes", "--as", "dicom", "--out", folder / "dicom"])
    train = ("train", "--steps", "2", "--out")
    if any(command.startswith("synthesize") for command in commands):
        run([*train, folder / "gan", "pix2pix", slices, *sets(GAN)])
    if "heal" in commands:
        run([*train, folder / "healer", "pseudo_healthy", slices, "--unpaired", *sets(HEALER)])
    labels = ("--condition", "label", *sets([*GAN, "candidates=[1,2]", "candidates_in=steps"]))
    if "select" in commands:
        run(["train", "--out", folder / "candidates", "pix2pix", slices, *labels])
