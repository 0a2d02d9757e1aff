"""MONAI runs a bundle, and what it draws are the bytes of ``synthesize``."""

import json
import subprocess
import sys

import pytest
from monai.bundle import ConfigParser

from lesionforge.errors import ModelError, OutputError
from lesionforge.production.bundle import write_bundle
from lesionforge.synthesizers.registry import load_synthesizer
from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort
from tests.synthesizers.models import fit_library, train_pix2pix


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def small_cohort(folder, spatial_dims):
    shape = {2: (24, 24), 3: (16, 16, 8)}[spatial_dims]
    return tiny_cohort(folder, spatial_dims=spatial_dims, n_subjects=2, shape=shape)


@pytest.fixture(params=[2, 3])
def cohort(request, tmp_path):
    return small_cohort(tmp_path / "cohort", request.param)


def monai_runs(bundle, *options):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    done = subprocess.run([*command, *map(str, options)], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("method", "dims"), [("copy_paste", 3), ("carvemix", 2), ("pix2pix", 3)])
def test_monai_draws_the_same_bytes(tmp_path, method, dims):
    pytest.importorskip("fire")
    cohort = small_cohort(tmp_path / "cohort", dims)
    if method == "pix2pix":
        train_pix2pix(cohort, tmp_path / "model", spatial_dims=dims, condition="inpaint")
    else:
        fit_library(method, cohort, tmp_path / "model")
    typed("bundle", tmp_path / "model", "--out", tmp_path / "bundle")
    options = ["--seed", 3, "--n", 3, "--masks", "bank"]
    typed("synthesize", tmp_path / "model", tmp_path / "cohort", "--out", tmp_path / "ours", *options)
    folders = ["--dataset_dir", tmp_path / "cohort", "--output_dir", tmp_path / "theirs"]
    monai_runs(tmp_path / "bundle", *folders, *options)
    ours, theirs = content(tmp_path / "ours"), content(tmp_path / "theirs")
    assert len([path for path in theirs if path.parts[0] == "imagesTr"]) == 3
    assert theirs == {path: held for path, held in ours.items() if path.name != "sheet.png"}


def test_a_bundle_holds_the_model_its_card_and_what_monai_reads(cohort, tmp_path):
    model = fit_library("copy_paste", cohort, tmp_path / "model")
    (tmp_path / "model" / "model_card.md").write_text("# Model card: with an audit\n")
    write_bundle(tmp_path / "model", tmp_path / "bundle")
    copied = load_synthesizer(tmp_path / "bundle" / "models")
    assert (copied.digest, copied.info) == (model.digest, model.info)
    assert (tmp_path / "bundle" / "docs" / "README.md").read_text().startswith("# Model card: with an audit\n")
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["channel_def"] == {"0": "FLAIR"}
    assert len(image["spatial_shape"]) == copied.info.preprocessing.spatial_dims
    parser = ConfigParser()
    parser.read_config(str(tmp_path / "bundle" / "configs" / "inference.json"))
    parser["bundle_root"], parser["dataset_dir"] = str(tmp_path / "bundle"), str(tmp_path / "cohort")
    assert parser.get_parsed_content("network_def").digest == model.digest
    assert parser.get_parsed_content("dataset").subjects == cohort.subjects


@pytest.mark.slow
def test_a_candidate_becomes_the_model_of_a_bundle(tmp_path):
    cohort = small_cohort(tmp_path / "cohort", 2)
    train_pix2pix(cohort, tmp_path / "model", spatial_dims=2, candidates=[1, 2], condition="inpaint")
    kept = load_synthesizer(tmp_path / "model", candidate="epoch_001")
    write_bundle(tmp_path / "model", tmp_path / "bundle", candidate="epoch_001")
    copied = load_synthesizer(tmp_path / "bundle" / "models")
    assert (copied.digest, copied.info) == (kept.digest, kept.info)
    assert copied.digest != load_synthesizer(tmp_path / "model").digest
    with pytest.raises(ModelError, match="has no candidate"):
        write_bundle(tmp_path / "model", tmp_path / "other", candidate="epoch_009")
    assert not (tmp_path / "other").exists()


def test_nothing_is_overwritten_and_what_is_no_synthesizer_is_refused(cohort, tmp_path):
    fit_library("copy_paste", cohort, tmp_path / "model")
    write_bundle(tmp_path / "model", tmp_path / "bundle")
    before = content(tmp_path / "bundle")
    with pytest.raises(OutputError, match="not empty"):
        write_bundle(tmp_path / "model", tmp_path / "bundle")
    assert content(tmp_path / "bundle") == before
    assert "no model.json" in error("bundle", tmp_path / "cohort", "--out", tmp_path / "other")
    description = tmp_path / "model" / "model.json"
    description.write_text(description.read_text().replace('"copy_paste"', '"segmentation"'))
    with pytest.raises(ModelError, match="is a model of segmentation"):
        write_bundle(tmp_path / "model", tmp_path / "other")
