import json
import shutil
import sys

import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.map_maker import MapMaker
from lesionforge.cohort.scan import read_label
from lesionforge.cohort.structures import Structures, read_structures
from lesionforge.files import write_text
from tests.cli.commands import content, error, typed
from tests.helpers import tiny_cohort, write_array


def test_tissue_classes_are_added_and_keep_lesions_out_of_fluid(volumes, tmp_path):
    volumes = shutil.copytree(volumes, tmp_path / "with_roles")
    write_text(volumes / "roles.json", '{"pool": ["sub_00"]}')
    before = content(volumes)
    result = typed("anatomy", volumes, tmp_path / "out", "--kmeans", 3)
    assert json.loads((tmp_path / "out" / "roles.json").read_text()) == {"pool": ["sub_00"]}
    assert "3 cases with anatomy maps" in result.output
    cohort = read_cohort(tmp_path / "out")
    assert all(set(np.unique(read_label(case.anatomy)[0])) == {0, 1, 2, 3} for case in cohort)
    assert all(case.parenchyma == (2, 3) for case in cohort)
    assert cohort.subjects == read_cohort(volumes).subjects
    assert content(volumes) == before
    typed("anatomy", volumes, tmp_path / "t2", "--kmeans", 3, "--fluid", "brightest")
    assert read_cohort(tmp_path / "t2").cases[0].parenchyma == (1, 2)
    typed("anatomy", volumes, tmp_path / "own", "--kmeans", 3, "--parenchyma", "3")
    (own, *_) = read_cohort(tmp_path / "own")
    assert own.parenchyma == (3,)
    assert own.map_maker == MapMaker(methods=("kmeans",))


def test_given_maps_are_grouped_and_a_bad_one_is_listed(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3)
    for number, value in enumerate((2, 17, 99)):
        label, affine = read_label(cohort.cases[number].label)
        write_array(tmp_path / "maps" / f"case_{number:03d}.nii.gz", np.full(label.shape, value), affine)
    options = ["--from", tmp_path / "maps", "--group", "freesurfer"]
    result = typed("anatomy", tmp_path / "c", tmp_path / "out", *options, code=1)
    assert "holds the values [99]" in result.output
    assert len(read_cohort(tmp_path / "out")) == 2
    assert len(read_structures(tmp_path / "out").names) == 27
    typed("anatomy", tmp_path / "c", tmp_path / "plain", "--from", tmp_path / "maps")
    assert read_structures(tmp_path / "plain") is None
    assert read_label(read_cohort(tmp_path / "plain").cases[2].anatomy)[0].max() == 99


def test_what_cannot_be_done_is_said_in_one_line(volumes, tmp_path):
    assert "one of them must say where" in error("anatomy", volumes, tmp_path / "a")
    both = error("anatomy", volumes, tmp_path / "b", "--kmeans", 3, "--from", tmp_path)
    assert "one of them must say where" in both
    assert "one of them must say where" in error("anatomy", volumes, tmp_path / "b", "--kmeans", 3, "--atropos", 3)
    assert "'x' is not a whole" in error("anatomy", volumes, tmp_path / "d", "--kmeans", 3, "--parenchyma", "1,x")
    strange = error("anatomy", volumes, tmp_path / "e", "--kmeans", 3, "--parenchyma", "2,7")
    assert "2,7 names a value without a structure; choose from 1 fluid, 2 tissue 2, 3 tissue 3" in strange
    assert not (tmp_path / "e").exists()


def test_atropos_without_its_package_is_refused_before_anything_is_written(volumes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ants", None)
    assert "pip install 'lesionforge[registration]'" in error("anatomy", volumes, tmp_path / "a", "--atropos", 3)
    assert not (tmp_path / "a").exists()


def test_atropos_makes_the_maps(tmp_path):
    pytest.importorskip("ants")
    tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=2)
    typed("anatomy", tmp_path / "c", tmp_path / "out", "--atropos", 3)
    cohort = read_cohort(tmp_path / "out")
    assert all(set(np.unique(read_label(case.anatomy)[0])) == {0, 1, 2, 3} for case in cohort)
    assert all(case.parenchyma == (2, 3) for case in cohort)


def test_maps_by_a_network_that_was_trained_on_structures(tmp_path):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3, anatomy=True)
    (tmp_path / "c" / "anatomy.json").write_text('{"structures": {"fluid": 1, "tissue": 2}, "parenchyma": [2]}')
    small = ["--set", "filters=[4,8]", "--set", "width=0.1", "--set", "num_layers_d=2", "--set", "roi_size=[24,24]"]
    train = ("segment", "train", tmp_path / "c", "--method", "pix2pix_segmentation", "--target", "anatomy")
    typed(*train, "--out", tmp_path / "model", "--steps", 2, *small)
    result = typed("anatomy", tmp_path / "c", tmp_path / "out", "--model", tmp_path / "model")
    assert "3 cases with anatomy maps" in result.output
    cohort = read_cohort(tmp_path / "out")
    structures = read_structures(tmp_path / "out")
    assert structures == Structures(names={"fluid": 1, "tissue": 2}, parenchyma=(2,))
    assert structures.maker == MapMaker(methods=("pix2pix_segmentation",), subjects=cohort.subjects)
    typed("segment", "predict", tmp_path / "model", tmp_path / "c", "--out", tmp_path / "found")
    for case in cohort:
        found, _ = read_label(tmp_path / "found" / f"{case.case_id}.png")
        assert np.array_equal(read_label(case.anatomy)[0], found)


def test_maps_are_scored_structure_by_structure(tmp_path):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3, anatomy=True)
    start = ("evaluate", tmp_path / "c" / "anatomyTr", tmp_path / "c", "--target", "anatomy")
    assert "which names the structures" in error(*start)
    (tmp_path / "c" / "anatomy.json").write_text('{"structures": {"fluid": 1, "tissue": 2}, "parenchyma": [2]}')
    result = typed(*start, "--out", tmp_path / "scores.csv")
    assert "Dice of fluid: mean 100.0 points\nDice of tissue: mean 100.0 points" in result.output
    assert (tmp_path / "scores.csv").read_text().splitlines()[1] == "case_000,sub_00,1.0,1.0,"
    shutil.copytree(tmp_path / "c" / "anatomyTr", tmp_path / "found")
    first = tmp_path / "found" / "case_000.png"
    found, affine = read_label(first)
    write_array(first, np.where(found == 1, 2, found).astype(np.uint8), affine)
    (tmp_path / "found" / "case_001.png").unlink()
    result = typed("evaluate", tmp_path / "found", *start[2:], code=1)
    assert "Dice of fluid: mean 50.0 points" in result.output
    assert "there is no prediction of this case" in result.output


def test_a_cohort_without_maps_teaches_no_anatomy(tmp_path):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3)
    train = ("segment", "train", tmp_path / "c", "--target", "anatomy", "--out", tmp_path / "model")
    assert "has no anatomy maps" in error(*train)
    assert not (tmp_path / "model").exists()
