import numpy as np
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.training.model_folder import read_info
from tests.cli.commands import GAN, content, error, sets, typed
from tests.helpers import tiny_cohort, write_array


@pytest.mark.parametrize("condition", ["label", "scan", "inpaint"])
def test_pix2pix_is_trained_with_each_condition(slices, tmp_path, condition):
    options = ["--steps", 2, "--condition", condition, *sets([*GAN, "optimiser.ema_decay=0.5"])]
    typed("train", "pix2pix", slices, "--out", tmp_path / "model", *options)
    info = read_info(tmp_path / "model")
    assert info.method == "pix2pix"
    assert info.config["condition"] == condition
    assert info.config["optimiser"]["ema_decay"] == 0.5
    assert info.training["steps"] == 2
    assert info.training_cases == tuple(f"case_00{n}" for n in range(5 if condition == "label" else 4))


@pytest.mark.parametrize("method", ["copy_paste", "carvemix", "transformed_copy"])
@pytest.mark.parametrize("cohort", ["slices", "volumes"])
def test_methods_without_training_give_the_same_kind_of_folder(method, cohort, tmp_path, request):
    folder = request.getfixturevalue(cohort)
    typed("train", method, folder, "--out", tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "model.json", "model_card.md"} <= names
    masks = ["--masks", "bank"] if method == "copy_paste" else []
    result = typed("synthesize", tmp_path / "model", folder, "--out", tmp_path / "out", "--n", 3, *masks)
    assert "3 cases" in result.output
    drawn = read_cohort(tmp_path / "out")
    assert all(case.origin == "synthetic" and case.synthesizer == method for case in drawn)
    assert drawn.channels == read_cohort(folder).channels


@pytest.mark.parametrize(
    ("selection", "cases"),
    [
        (["--role", "pool"], ["case_000", "case_001"]),
        (["--cases", "cases.txt"], ["case_002"]),
        (["--role", "final", "--subjects", "1"], 1),
        (["--subjects", "0.67"], 3),
    ],
)
def test_cases_are_chosen_by_role_list_and_number(slices, tmp_path, monkeypatch, selection, cases):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.txt").write_text("case_002\n")
    typed("train", "copy_paste", slices, "--out", "model", *selection)
    found = read_info(tmp_path / "model").training_cases
    assert len(found) in (cases, cases - 1) if isinstance(cases, int) else list(found) == cases


def test_the_seed_decides_which_subjects_are_taken(slices, tmp_path):
    chosen = set()
    for seed in range(5):
        out = tmp_path / str(seed)
        typed("train", "copy_paste", slices, "--out", out, "--subjects", 2, "--seed", seed, "--role", "pool")
        chosen.add(read_info(out).training_subjects)
    assert len(chosen) > 1


@pytest.mark.parametrize("masks", ["bank", "edited", "semi_random", "ellipsoids", "files:masks"])
def test_cases_are_synthesized_from_every_kind_of_mask(gan, slices, tmp_path, monkeypatch, masks):
    monkeypatch.chdir(tmp_path)
    drawing = np.zeros((64, 64), np.uint8)
    drawing[30:36, 40:46] = 1
    write_array(tmp_path / "masks" / "drawing.png", drawing)
    options = ["--n", 4, "--masks", masks, "--min-volume", 10]
    result = typed("synthesize", gan, slices, "--out", "out", *options)
    assert "4 cases" in result.output
    assert (tmp_path / "out" / "sheet.png").is_file()
    drawn = read_cohort(tmp_path / "out")
    originals = read_cohort(slices)
    for case in drawn:
        source = originals[case.source_case]
        assert source.annotation is not Annotation.UNKNOWN
        assert {source.subject_id, *read_info(gan).training_subjects} <= set(case.parents)
        assert read_label(case.label)[0].any()
    typed("synthesize", gan, slices, "--out", "again", *options)
    images = {path: data for path, data in content(tmp_path / "out").items() if path.suffix == ".png"}
    assert images == {path: data for path, data in content(tmp_path / "again").items() if path.suffix == ".png"}


def test_a_lesion_of_its_own_is_drawn_into_each_scan_that_has_one(slices, tmp_path):
    typed("train", "pix2pix", slices, "--out", tmp_path / "model", "--condition", "label", "--steps", 1, *sets(GAN))
    result = typed("synthesize", tmp_path / "model", slices, "--out", tmp_path / "out", "--masks", "own")
    lesions = [case.case_id for case in read_cohort(slices).with_lesions()]
    assert sorted(case.source_case for case in read_cohort(tmp_path / "out")) == lesions
    assert f"{len(lesions)} cases" in result.output


def test_another_seed_draws_otherwise_and_drawn_masks_need_no_classes(gan, tmp_path):
    tiny_cohort(tmp_path / "strokes", spatial_dims=2, n_subjects=2, labels={"background": 0, "stroke": 1})
    options = ["--n", 2, "--masks", "ellipsoids", "--min-volume", 10]
    for seed in (0, 1):
        typed("synthesize", gan, tmp_path / "strokes", "--out", tmp_path / str(seed), "--seed", seed, *options)
    first, second = (content(tmp_path / name / "labelsTr") for name in "01")
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_lesions_that_find_no_place_are_told_and_leave_no_case(gan, slices, tmp_path):
    options = ["--n", 2, "--masks", "ellipsoids", "--min-volume", 100_000]
    result = typed("synthesize", gan, slices, "--out", tmp_path / "out", *options, code=1)
    assert "out: 0 cases" in result.output
    assert "2 cases could not be done" in result.output
    assert not (tmp_path / "out" / "sheet.png").exists()


def test_masks_that_cannot_be_read_are_listed(gan, slices, tmp_path):
    other = tiny_cohort(tmp_path / "other", spatial_dims=2, n_subjects=2)
    bad = other.cases[0].label
    bad.write_bytes(bad.read_bytes()[:40])
    options = ["--n", 2, "--masks", "bank", "--masks-from", tmp_path / "other", "--min-volume", 10]
    result = typed("synthesize", gan, slices, "--out", tmp_path / "out", *options, code=1)
    assert "2 cases;" in result.output
    assert str(bad) in result.output
    assert str(bad) in (tmp_path / "out" / "problems.csv").read_text()


def test_other_cohorts_give_the_masks_and_full_images_are_kept(slices, tmp_path):
    typed("train", "pix2pix", slices, "--out", tmp_path / "m", "--steps", 2, "--condition", "label", *sets(GAN))
    other = tiny_cohort(tmp_path / "other", spatial_dims=2, n_subjects=2, seed=5)
    for case in other:
        assert case.subject_id.startswith("sub_")
    table = (tmp_path / "other" / "cases.csv").read_text()
    (tmp_path / "other" / "cases.csv").write_text(table.replace("sub_", "other_"))
    options = ["--n", 2, "--masks", "bank", "--masks-from", tmp_path / "other", "--blend", "full", "--min-volume", 10]
    typed("synthesize", tmp_path / "m", slices, "--out", tmp_path / "out", *options)
    originals = read_cohort(slices)
    for case in read_cohort(tmp_path / "out"):
        assert any(parent.startswith("other_") for parent in case.parents)
        drawn, source = (load_scan(c, ["FLAIR"]) for c in (case, originals[case.source_case]))
        outside = (drawn.label == 0) & (source.image[0] > 0)
        assert (drawn.image != source.image)[0][outside].mean() > 0.9
    (tmp_path / "other" / "roles.json").write_text('{"pool": ["other_01"]}')
    typed("synthesize", tmp_path / "m", slices, "--out", tmp_path / "pool", *options, "--masks-role", "pool")
    for case in read_cohort(tmp_path / "pool"):
        assert {parent for parent in case.parents if parent.startswith("other_")} == {"other_01"}
    refused = error("synthesize", tmp_path / "m", slices, "--out", tmp_path / "no", "--masks-role", "pool")
    assert "--masks-role: needs --masks-from" in refused


def test_a_cohort_without_lesions_is_refused_for_synthesis(tmp_path):
    tiny_cohort(tmp_path / "healthy", spatial_dims=2, n_subjects=2, n_healthy=2)
    message = error("train", "carvemix", tmp_path / "healthy", "--out", tmp_path / "out")
    assert "has no case with a lesion" in message


@pytest.mark.slow
def test_a_candidate_draws_and_its_cases_are_not_mixed_with_others(slices, tmp_path):
    settings = sets([*GAN, "network=lcgan", "lesion_share=1", "candidates=[1,2]"])
    typed("train", "pix2pix", slices, "--out", tmp_path / "m", "--condition", "label", *settings)
    assert read_info(tmp_path / "m").training["steps"] == 4
    command = ["synthesize", tmp_path / "m", slices, "--n", 2, "--masks", "bank", "--blend", "full", "--min-volume", 10]
    for name in ("epoch_001", "epoch_002"):
        typed(*command, "--out", tmp_path / name, "--candidate", name)
    first, second = (content(tmp_path / name / "imagesTr") for name in ("epoch_001", "epoch_002"))
    assert first.keys() == second.keys()
    assert all(first[image] != second[image] for image in first)
    assert "another run" in error(*command, "--out", tmp_path / "epoch_001", "--candidate", "epoch_002")


def test_a_candidate_that_is_not_there_is_told(gan, slices, tmp_path):
    message = error("synthesize", gan, slices, "--out", tmp_path / "out", "--n", 2, "--candidate", "epoch_010")
    assert "has no candidate epoch_010" in message
    assert not (tmp_path / "out").exists()


def test_negatives_need_a_generator_that_fills_holes(gan, slices, tmp_path):
    told = error("synthesize", gan, slices, "--out", tmp_path / "out", "--masks", "ellipsoids", "--negatives", 0.2)
    assert told.startswith("error: --negatives: this pix2pix has not learnt to fill holes")


def test_steps_and_candidates_are_not_both_given(slices, tmp_path):
    for steps in (["--steps", 2], sets(["training.steps=2"])):
        message = error("train", "pix2pix", slices, "--out", tmp_path / "m", *sets(["candidates=[1]"]), *steps)
        assert "candidates" in message
