"""Mask generators on the command line: trained on label maps alone or on a cohort, and used to place lesions."""

import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import read_label
from lesionforge.training.model_folder import read_info
from tests.cli.commands import error, sets, typed
from tests.helpers import tiny_cohort
from tests.masks.mni import write_masks

SMALL = ["size=[16,20,12]", "channels=[32,16]", "width=0.5", "latent=8", "min_voxels=1", "head_kernel=7"]


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masks") / "masks", 22)


@pytest.fixture(scope="module")
def maskgan(masks, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "maskgan"
    typed(
        "train",
        "maskgan",
        masks,
        "--out",
        out,
        "--steps",
        2,
        *sets([*SMALL, "training.epoch_steps=2", "training.batch_size=2"]),
    )
    return out


def test_a_folder_of_masks_trains_a_generator_that_places_lesions(maskgan, tmp_path):
    volumes = tmp_path / "Dataset001_Volumes"
    tiny_cohort(volumes, spatial_dims=3, n_subjects=4, n_healthy=2)
    typed("train", "copy_paste", volumes, "--out", tmp_path / "model")
    (tmp_path / "healthy.txt").write_text("case_002\ncase_003\n")
    options = ["--n", 6, "--cases", tmp_path / "healthy.txt", "--masks", f"gan:{maskgan}", "--min-volume", 20]
    typed("synthesize", tmp_path / "model", volumes, "--out", tmp_path / "out", *options)
    drawn = read_cohort(tmp_path / "out")
    trained = set(read_info(maskgan).training_subjects)
    assert len(drawn) == 6
    for case in drawn:
        assert case.mask_id == "maskgan"
        assert trained <= set(case.parents)
        assert read_label(case.label)[0].any()


@pytest.mark.slow
def test_a_cohort_with_scans_trains_a_generator(tmp_path):
    folder = tmp_path / "Dataset001_Volumes"
    tiny_cohort(folder, spatial_dims=3, n_subjects=22, shape=(16, 16, 16), channels=("FLAIR", "T1"))
    steps = ["--steps", 2, "--channels", "T1", *sets([*SMALL, "training.epoch_steps=2", "training.batch_size=2"])]
    typed("train", "maskgan", folder, "--out", tmp_path / "model", *steps)
    info = read_info(tmp_path / "model")
    assert info.preprocessing.channels == ("T1",)
    assert len(info.training_cases) < 22


@pytest.mark.slow
def test_bad_masks_are_listed_and_the_good_ones_trained_on(masks, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for path in masks.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.nii.gz").write_bytes(b"no image")
    steps = ["--steps", 2, *sets([*SMALL, "training.epoch_steps=2", "training.batch_size=2"])]
    result = typed("train", "maskgan", folder, "--out", tmp_path / "model", *steps, code=1)
    assert "1 cases could not be done" in result.output
    assert "broken.nii.gz" in (tmp_path / "model" / "problems.csv").read_text()
    assert (tmp_path / "model" / "model.json").is_file()


def test_what_cannot_be_done_is_said_in_one_line(masks, maskgan, slices, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(masks.iterdir())[:3]:
        (few / path.name).write_bytes(path.read_bytes())
    assert "has 3 usable lesion masks" in error("train", "maskgan", few, "--out", tmp_path / "a")
    assert "there is no such folder" in error("train", "maskgan", tmp_path / "nowhere", "--out", tmp_path / "b")
    unknown = error("train", "maskgan", masks, "--out", tmp_path / "c", "--set", "depth=3")
    assert "depth: is no option; the options are size" in unknown
    typed("train", "copy_paste", slices, "--out", tmp_path / "model")
    options = ["--out", tmp_path / "out", "--n", 1, "--masks", f"gan:{maskgan}"]
    told = typed("synthesize", tmp_path / "model", slices, *options, code=1).output
    assert "is a slice, but maskgan draws volumes" in told
    assert "is a model of maskgan" in error("synthesize", maskgan, slices, "--out", tmp_path / "out2", "--n", 1)
