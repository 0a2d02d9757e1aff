"""Lesions in the patches of nnU-Net itself; without the extra ``nnunet`` only what needs no nnU-Net is tested."""

import json
from dataclasses import replace

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from lesionforge import export_cohorts, read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError, LeakError, ModelError
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.nnunet import MODEL, PROB, TRAINER, TRAINERS
from lesionforge.production.nnunet.axes import axes_of, to_nnunet
from lesionforge.production.nnunet.intensities import normalisation
from tests.helpers import tiny_cohort
from tests.synthesizers.models import fit_library

NAME = "Dataset201_Mixed"
TURNED = np.array([[-2.0, 0, 0, 10], [0, 0, 2.0, 5], [0, -3.0, 0, 7], [0, 0, 0, 1]])
"""Axes to the left, down and to the front; the second one has the largest spacing."""


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned") / "c"
    return tiny_cohort(folder, spatial_dims=3, n_subjects=6, affine=TURNED, shape=(40, 16, 48))


class Preprocessed:
    """A dataset that nnU-Net has checked, planned and preprocessed, and a model that was fitted on the first fold."""

    def __init__(self, root, cohort, configuration, patch):
        self.root, self.configuration = root, configuration
        export_cohorts([cohort], root / "nnUNet_raw" / NAME, method="nnunet", folds=3)
        self.cohort = read_cohort(root / "nnUNet_raw" / NAME)
        self.folder = root / "nnUNet_preprocessed" / NAME
        self._plan(patch)
        (self.fold, *_) = json.loads((self.folder / "splits_final.json").read_text())
        self.model = root / "model"
        fit_library("copy_paste", self.cohort.subset(self.fold["train"]), self.model, spatial_dims=len(patch))

    def _plan(self, patch):
        from nnunetv2.experiment_planning import plan_and_preprocess_api as api

        api.extract_fingerprints([201], num_processes=1, check_dataset_integrity=True, verbose=False)
        api.plan_experiments([201])
        file = self.folder / "nnUNetPlans.json"
        plans = json.loads(file.read_text())
        own = plans["configurations"][self.configuration]
        own.update(patch_size=list(patch), batch_size=2)
        dims, stages = len(patch), 3
        own["architecture"]["arch_kwargs"].update(
            n_stages=stages,
            features_per_stage=[4] * stages,
            kernel_sizes=[[3] * dims] * stages,
            strides=[[1] * dims, *[[2] * dims] * (stages - 1)],
            n_conv_per_stage=[1] * stages,
            n_conv_per_stage_decoder=[1] * (stages - 1),
        )
        file.write_text(json.dumps(plans))
        api.preprocess([201], configurations=[self.configuration], num_processes=[1], verbose=False)

    def trainer(self, name=TRAINER, fold=0):
        import torch
        from nnunetv2.run.run_training import get_trainer_from_args

        made = get_trainer_from_args("201", self.configuration, fold, name, device=torch.device("cpu"))
        made.num_epochs, made.num_iterations_per_epoch, made.num_val_iterations_per_epoch = 2, 2, 1
        return made


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    monkeypatch.delenv(MODEL, raising=False)
    monkeypatch.delenv(PROB, raising=False)


KINDS = {"slices": ("2d", (64, 64)), "2d": ("2d", (32, 32)), "3d": ("3d_fullres", (16, 32, 32))}


@pytest.fixture(scope="module", params=KINDS)
def prepared(request, turned, tmp_path_factory):
    pytest.importorskip("nnunetv2")
    root = tmp_path_factory.mktemp("nnunet")
    configuration, patch = KINDS[request.param]
    cohort = turned.cases[0].images["FLAIR"].parents[1]
    if request.param == "slices":
        cohort = root / "Dataset001_Tiny"
        tiny_cohort(cohort, spatial_dims=2, n_subjects=6)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("nnUNet_def_n_proc", "1")
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (root / name).mkdir()
            patched.setenv(name, str(root / name))
        yield Preprocessed(root, cohort, configuration, patch)


@pytest.mark.slow
def test_it_trains_and_predicts(prepared, monkeypatch):
    monkeypatch.setenv(MODEL, str(prepared.model))
    trainer = prepared.trainer()
    trainer.run_training()
    assert trainer.current_epoch == 2
