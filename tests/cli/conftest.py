import json

import pytest

from tests.cli.commands import GAN, UNET, sets, typed
from tests.helpers import NESTED, tiny_cohort


@pytest.fixture(scope="session")
def slices(tmp_path_factory):
    """Six subjects in 2D, the last unknown, the one before lesion-free, with roles."""
    folder = tmp_path_factory.mktemp("cohorts") / "Dataset001_Slices"
    tiny_cohort(folder, spatial_dims=2, n_subjects=6, n_healthy=1, n_unknown=1)
    roles = {"pool": ["sub_00", "sub_01", "sub_04"], "final": ["sub_02", "sub_03"]}
    (folder / "roles.json").write_text(json.dumps(roles))
    return folder


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """Three subjects in 3D with two channels and nested classes."""
    folder = tmp_path_factory.mktemp("cohorts") / "Dataset002_Volumes"
    tiny_cohort(folder, spatial_dims=3, n_subjects=3, channels=("FLAIR", "T1"), labels=NESTED, n_healthy=1)
    return folder


@pytest.fixture(scope="session")
def gan(slices, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "gan"
    typed("train", "pix2pix", slices, "--out", out, "--steps", 4, *sets(GAN))
    return out


@pytest.fixture(scope="session")
def unet(slices, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "unet"
    typed("segment", "train", slices, "--out", out, "--steps", 4, *sets(UNET))
    return out
