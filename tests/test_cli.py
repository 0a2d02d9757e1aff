"""Every command as a user types it, in this process; :func:`typed` is ``lesionforge ARGUMENTS``."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from lesionforge.cli import app, main
from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import read_label
from lesionforge.training.model_folder import read_info
from tests.helpers import NESTED, SHAPES, tiny_cohort, write_array

GAN = ["width=0.06", "channels=[8,16]", "roi_size=[32,32]", "training.epoch_steps=2", "training.batch_size=2"]
UNET = ["filters=[4,8]", "training.batch_size=2", "training.epoch_steps=2"]
COMMANDS = [
    ["demo"],
    ["import"],
    ["check"],
    ["show"],
    ["train"],
    ["synthesize"],
    ["segment", "train"],
    ["segment", "predict"],
    ["evaluate"],
    ["benchmark"],
]


def typed(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def error(*arguments):
    """Run a command that must fail; return its message, which is the one line of the error contract."""
    result = typed(*arguments, code=2)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.output
    assert re.fullmatch(r"error: .+: .+; .+", lines[0])
    assert "Traceback" not in result.output
    return lines[0]


def sets(settings):
    return [part for setting in settings for part in ("--set", setting)]


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """Six subjects in 2D, the last unknown, the one before lesion-free, with roles."""
    folder = tmp_path_factory.mktemp("cohorts") / "Dataset001_Slices"
    tiny_cohort(folder, spatial_dims=2, n_subjects=6, n_healthy=1, n_unknown=1)
    roles = {"pool": ["sub_00", "sub_01", "sub_04"], "final": ["sub_02", "sub_03"]}
    (folder / "roles.json").write_text(json.dumps(roles))
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Three subjects in 3D with two channels and nested classes."""
    folder = tmp_path_factory.mktemp("cohorts") / "Dataset002_Volumes"
    tiny_cohort(folder, spatial_dims=3, n_subjects=3, channels=("FLAIR", "T1"), labels=NESTED, n_healthy=1)
    return folder


@pytest.fixture(scope="module")
def gan(slices, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "gan"
    typed("train", "pix2pix", slices, "--out", out, "--steps", 4, *sets(GAN))
    return out


@pytest.fixture(scope="module")
def unet(slices, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "unet"
    typed("segment", "train", slices, "--out", out, "--steps", 4, *sets(UNET))
    return out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command):
    shown = " ".join(typed(*command, "--help").output.split())
    assert f"Example: lesionforge {' '.join(command)}" in shown


def test_every_command_is_tested_here():
    group = get_command(app)
    found = []
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        found += [[name, inner] for inner in below] if below else [[name]]
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [[], ["segment"]])
def test_without_arguments_the_commands_are_listed(command):
    result = CliRunner().invoke(app, command)
    assert "Usage" in result.output
    assert "train" in result.output


def test_folders_are_imported(tmp_path):
    for patient, value in (("p1", 1), ("p2", 1), ("p3", 0)):
        label = np.zeros((8, 8, 8), np.uint8)
        label[2:4, 2:4, 2:4] = value
        write_array(tmp_path / "scans" / patient / "flair.nii.gz", np.arange(512.0).reshape(8, 8, 8))
        write_array(tmp_path / "scans" / patient / "lesion.nii.gz", label)
    (tmp_path / "scans" / "p4").mkdir()
    write_array(tmp_path / "scans" / "p4" / "flair.nii.gz", np.ones((8, 8, 8)))
    out = tmp_path / "Dataset001_WMH"
    options = ["--layout", "folders", "--channel", "FLAIR=flair.nii.gz", "--mask", "lesion.nii.gz"]
    result = typed("import", tmp_path / "scans", out, *options)
    assert "4 cases of 4 subjects" in result.output
    cohort = read_cohort(out)
    assert cohort.channels == ("FLAIR",)
    states = [case.annotation for case in cohort]
    assert states == [Annotation.LESION, Annotation.LESION, Annotation.LESION_FREE, Annotation.UNKNOWN]
    typed("import", tmp_path / "scans", tmp_path / "free", *options, "--no-mask", "lesion_free")
    assert read_cohort(tmp_path / "free")["p4"].annotation is Annotation.LESION_FREE
    typed("import", tmp_path / "scans", tmp_path / "named", *options, "--label", "stroke=1")
    assert read_cohort(tmp_path / "named").labels == {"background": 0, "stroke": 1}


def test_slices_with_a_table_are_imported(tmp_path):
    rows = [["slice_id", "subject_id", "image", "mask", "scanner"]]
    for number in range(3):
        image, mask = f"image_{number}.png", f"mask_{number}.png"
        write_array(tmp_path / "scans" / image, np.arange(64.0).reshape(8, 8))
        write_array(tmp_path / "scans" / mask, np.eye(8, dtype=np.uint8))
        rows.append([f"s{number}", f"p{number // 2}", image, mask, "A"])
    table = tmp_path / "scans" / "slices.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    result = typed("import", table, tmp_path / "out", "--layout", "slices", "--channel", "CT")
    assert "3 cases of 2 subjects" in result.output
    cohort = read_cohort(tmp_path / "out")
    assert cohort.channels == ("CT",)
    assert cohort["s0"].extra["scanner"] == "A"


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_nnunet_is_imported_and_missing_channels_are_listed(tmp_path, spatial_dims):
    source = tmp_path / "source"
    cohort = tiny_cohort(
        source, spatial_dims=spatial_dims, n_subjects=3, channels=("FLAIR", "T1"), missing={"case_001": ["T1"]}
    )
    result = typed("import", source, tmp_path / "left", "--layout", "nnunet")
    assert "1 cases lack a channel and were left out" in result.output
    assert [case.case_id for case in read_cohort(tmp_path / "left")] == ["case_000", "case_002"]
    assert "case_001" in (tmp_path / "left" / "missing.csv").read_text()
    typed("import", source, tmp_path / "filled", "--layout", "nnunet", "--missing", "zero_fill")
    assert len(read_cohort(tmp_path / "filled")) == len(cohort)


@pytest.mark.parametrize("table", [True, False], ids=["with cases.csv", "without"])
def test_masks_of_0_and_255_are_named_and_can_be_imported(tmp_path, table):
    source = tmp_path / "source"
    for case in tiny_cohort(source, spatial_dims=2, n_subjects=2):
        write_array(case.label, read_label(case.label)[0] * 255)
    if not table:
        (source / "cases.csv").unlink()
    message = error("import", source, tmp_path / "refused", "--layout", "nnunet")
    assert "case_000.png: the mask is stored as 0 and 255; store the classes as 1, 2, …, or import it" in message
    checked = CliRunner().invoke(app, ["check", str(source)])
    assert checked.exit_code != 0
    assert "the mask is stored as 0 and 255" in checked.output
    typed("import", source, tmp_path / "out", "--layout", "nnunet", "--binary-masks")
    typed("check", tmp_path / "out")
    assert {v for case in read_cohort(tmp_path / "out") for v in np.unique(read_label(case.label)[0])} == {0, 1}


def zoomed(array):
    return np.repeat(array, 2, axis=0)


def save_float(path, change):
    values = nib.load(path).get_fdata()
    nib.save(nib.Nifti1Image(change(values).astype(np.float32), np.diag([2.0, 2, 2, 1])), path)


FAULTS_OF_ALL = {
    "the file is missing": lambda image, label: image.unlink(),
    "cannot be read": lambda image, label: image.write_bytes(image.read_bytes()[:-40]),
    "has size": lambda image, label: write_array(label, zoomed(read_label(label)[0]), AFFINE),
    "holds the label values [3]": lambda image, label: write_array(label, read_label(label)[0] * 3, AFFINE),
    "stored as 0 and 255": lambda image, label: write_array(label, read_label(label)[0] * 255, AFFINE),
    "is zero everywhere": lambda image, label: write_array(image, 0 * read_label(label)[0], AFFINE),
}
FAULTS = {
    2: FAULTS_OF_ALL
    | {
        "16-bit": lambda image, label: Image.fromarray(np.full((64, 64), 999, np.uint16)).save(image),
        "a colour (RGB) PNG": lambda image, label: Image.open(image).convert("RGB").save(image),
    },
    3: FAULTS_OF_ALL
    | {
        "its affine differs": lambda image, label: write_array(label, read_label(label)[0], np.eye(4)),
        "NaN or infinite": lambda image, label: save_float(image, lambda x: np.where(x > 90, np.nan, x)),
        "infinite intensities": lambda image, label: save_float(image, lambda x: np.where(x > 90, np.inf, x)),
        "has 4 dimensions": lambda image, label: save_float(image, lambda x: np.stack([x, x], -1)),
    },
}
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_bad_file_is_named_with_a_remedy_and_the_good_cases_are_done(tmp_path, spatial_dims):
    faults = FAULTS[spatial_dims]
    source = tmp_path / "source"
    cohort = tiny_cohort(source, spatial_dims=spatial_dims, n_subjects=len(faults) + 2)
    bad = dict(zip([case.case_id for case in cohort][1:], faults, strict=False))
    for case_id, what in bad.items():
        faults[what](cohort[case_id].images["FLAIR"], cohort[case_id].label)
    imported = typed("import", source, tmp_path / "out", "--layout", "nnunet", code=1)
    checked = typed("check", source, code=1)
    assert "2 cases of 2 subjects" in imported.output
    assert [case.case_id for case in read_cohort(tmp_path / "out")] == [
        cohort.cases[0].case_id,
        cohort.cases[-1].case_id,
    ]
    listed = (tmp_path / "out" / "problems.csv").read_text().splitlines()[1:]
    assert len(listed) == len(bad)
    for result in (imported.output.splitlines(), checked.output.splitlines(), listed):
        for case_id, what in bad.items():
            (line,) = [line for line in result if f"{case_id}_0000." in line or f"{case_id}." in line]
            assert what in line
            assert line.rstrip().rstrip('"')[-1].isalnum()
    for line in imported.output.splitlines()[-len(bad) :]:
        assert re.fullmatch(r"  .+: .+; .+", line)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--layout", "folders"], "--channel"),
        (["--layout", "folders", "--channel", "flair.nii.gz"], "NAME=VALUE"),
        (["--layout", "folders", "--channel", "FLAIR=flair.nii.gz"], "nowhere: is not a folder"),
        (["--layout", "slices"], "nowhere: the file is missing"),
        (["--layout", "slices", "--label", "lesion=one"], "'one' is no whole number"),
        (["--layout", "slices", "--mask", "lesion.nii.gz"], "--mask: says nothing about the layout slices"),
        (["--layout", "nnunet"], "nowhere: has no dataset.json"),
        (["--layout", "nnunet", "--channel", "FLAIR=flair.nii.gz"], "--channel: says nothing about"),
    ],
)
def test_imports_that_cannot_be_done_are_refused(tmp_path, monkeypatch, options, what):
    monkeypatch.chdir(tmp_path)
    assert what in error("import", "nowhere", "out", *options)


def test_check_reports_without_writing_into_the_cohort(slices, tmp_path):
    before = content(slices)
    result = typed("check", slices, "--out", tmp_path / "report")
    assert "0 problems" in result.output
    assert "P99.5" in result.output
    assert content(slices) == before
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "findings.csv",
        "fingerprint.json",
        "fingerprint.md",
    }
    assert "lies in the cohort" in error("check", slices, "--out", slices / "report")
    assert content(slices) == before


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_check_names_every_bad_case_in_one_line_and_fails(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims, n_subjects=4)
    cohort["case_000"].images["FLAIR"].unlink()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    write_array(cohort["case_001"].label, read_label(cohort["case_001"].label)[0] * 3, affine)
    write_array(cohort["case_002"].images["FLAIR"], np.zeros(SHAPES[spatial_dims]), affine)
    result = typed("check", tmp_path / "cohort", code=1)
    assert "3 problems" in result.output
    for number, what in enumerate(("the file is missing", "holds the label values [3]", "is zero everywhere")):
        (line,) = [line for line in result.output.splitlines() if f"case_00{number}" in line]
        assert what in line
        assert "; " in line


@pytest.mark.parametrize("cohort", ["slices", "volumes"])
def test_show_draws_a_sheet(cohort, tmp_path, request):
    typed("show", request.getfixturevalue(cohort), "--out", tmp_path / "sheet.png", "--n", 2, "--channels", "FLAIR")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("condition", ["label", "scan", "inpaint"])
def test_pix2pix_is_trained_with_each_condition(slices, tmp_path, condition):
    options = ["--steps", 2, "--condition", condition, *sets([*GAN, "optimiser.ema_decay=0.5"])]
    typed("train", "pix2pix", slices, "--out", tmp_path / "model", *options)
    info = read_info(tmp_path / "model")
    assert info.method == "pix2pix"
    assert info.config["condition"] == condition
    assert info.config["optimiser"]["ema_decay"] == 0.5
    assert info.training["steps"] == 2
    assert info.training_cases == tuple(f"case_00{n}" for n in range(4))


@pytest.mark.parametrize("method", ["copy_paste", "carvemix"])
@pytest.mark.parametrize("cohort", ["slices", "volumes"])
def test_methods_without_training_give_the_same_kind_of_folder(method, cohort, tmp_path, request):
    folder = request.getfixturevalue(cohort)
    typed("train", method, folder, "--out", tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "model.json", "model_card.md"} <= names
    masks = [] if method == "carvemix" else ["--masks", "bank"]
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


def test_a_time_budget_ends_training(slices, tmp_path):
    typed("segment", "train", slices, "--out", tmp_path / "model", "--time-budget", "0.1s", *sets(UNET))
    steps = read_info(tmp_path / "model").training["steps"]
    assert 0 < steps < 5000
    assert steps % 2 == 0


@pytest.mark.parametrize("command", [["train", "pix2pix"], ["segment", "train"]], ids=" ".join)
def test_a_run_is_resumed_only_when_asked_for(slices, tmp_path, command):
    settings = sets(GAN if command[0] == "train" else UNET)
    if command[0] == "segment":
        settings += ["--set", "learning_rate=0.001"]
    start = [*command, slices, *settings]
    typed(*start, "--out", tmp_path / "run", "--steps", 2)
    assert "add --resume" in error(*start, "--out", tmp_path / "run", "--steps", 4)
    more = 4 if command[0] == "train" else 2
    typed(*start, "--out", tmp_path / "run", "--steps", more, "--resume")
    assert read_info(tmp_path / "run").training["steps"] == more


@pytest.mark.parametrize("masks", ["bank", "edited", "ellipsoids", "files:masks"])
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


def test_other_cohorts_give_the_masks_and_full_images_are_kept(slices, tmp_path):
    typed("train", "pix2pix", slices, "--out", tmp_path / "m", "--steps", 2, "--condition", "label", *sets(GAN))
    other = tiny_cohort(tmp_path / "other", spatial_dims=2, n_subjects=2, seed=5)
    for case in other:
        assert case.subject_id.startswith("sub_")
    table = (tmp_path / "other" / "cases.csv").read_text()
    (tmp_path / "other" / "cases.csv").write_text(table.replace("sub_", "other_"))
    options = ["--n", 2, "--masks", "bank", "--masks-from", tmp_path / "other", "--blend", "full", "--min-volume", 10]
    typed("synthesize", tmp_path / "m", slices, "--out", tmp_path / "out", *options)
    for case in read_cohort(tmp_path / "out"):
        assert any(parent.startswith("other_") for parent in case.parents)


def test_a_batch_does_the_good_cases_and_lists_the_bad(gan, unet, slices, tmp_path):
    shutil.copytree(slices, tmp_path / "cohort")
    bad = tmp_path / "cohort" / "imagesTr" / "case_001_0000.png"
    bad.write_bytes(bad.read_bytes()[:100])
    options = ["--n", 5, "--masks", "ellipsoids", "--min-volume", 10]
    drawn = typed("synthesize", gan, tmp_path / "cohort", "--out", tmp_path / "drawn", *options, code=1)
    assert len(read_cohort(tmp_path / "drawn")) == 4
    found = typed("segment", "predict", unet, tmp_path / "cohort", "--out", tmp_path / "found", code=1)
    assert not (tmp_path / "found" / "case_001.png").exists()
    assert len(list((tmp_path / "found").glob("*.png"))) == 5
    for result, folder in ((drawn, "drawn"), (found, "found")):
        assert "case_001_0000.png" in result.output.splitlines()[-1]
        assert "case_001_0000.png" in (tmp_path / folder / "problems.csv").read_text()


def test_segment_predict_evaluate(unet, slices, volumes, tmp_path):
    typed("segment", "predict", unet, slices, "--out", tmp_path / "found")
    before = content(tmp_path / "found")
    assert len(before) == len(read_cohort(slices)) + 1
    typed("segment", "predict", unet, slices, "--out", tmp_path / "found")
    assert content(tmp_path / "found") == before
    result = typed("evaluate", tmp_path / "found", slices, "--out", tmp_path / "scores.csv")
    assert "5 of 5 cases scored" in result.output
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 6
    (tmp_path / "found" / "case_000.png").unlink()
    result = typed("evaluate", tmp_path / "found", slices, code=1)
    assert "4 of 5 cases scored" in result.output
    assert "case_000: " in result.output
    typed("segment", "predict", unet, volumes, "--out", tmp_path / "volumes")
    for case in read_cohort(volumes):
        label, affine = read_label(tmp_path / "volumes" / f"{case.case_id}.nii.gz")
        image = nib.load(case.images["FLAIR"])
        assert label.shape == image.shape
        assert np.allclose(affine, image.affine)


def test_a_synthetic_cohort_is_mixed_into_training(gan, slices, volumes, tmp_path):
    drawn = tmp_path / "drawn"
    typed("synthesize", gan, slices, "--out", drawn, "--n", 3, "--masks", "bank", "--min-volume", 10, "--role", "pool")
    options = ["--with", drawn, "--share", 0.5, "--role", "pool", "--steps", 2, *sets(UNET)]
    typed("segment", "train", slices, "--out", tmp_path / "model", *options)
    info = read_info(tmp_path / "model")
    assert {case.case_id for case in read_cohort(drawn)} < set(info.training_cases)
    assert set(read_info(gan).training_subjects) <= set(info.training_subjects)
    message = error("segment", "train", volumes, "--with", drawn, "--out", tmp_path / "no", "--channels", "FLAIR")
    assert "its lesion classes are not those of Volumes" in message


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["check", "nowhere"], "nowhere: has no dataset.json"),
        (["show", "COHORT", "--channels", "T2"], "has no channel 'T2'"),
        (["train", "cyclegan", "COHORT", "--out", "out"], "cyclegan: is no synthesizer; choose from pix2pix"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "lamda=1"], "lamda: is no option; the options are"),
        (
            ["train", "pix2pix", "COHORT", "--out", "out", "--set", "optimiser.lr=1"],
            "optimiser.lr: is no option; the options are learning_rate",
        ),
        (
            ["train", "pix2pix", "COHORT", "--out", "out", "--set", "training.step=1"],
            "step: is no option; the options are steps",
        ),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "width=-1"], "width: input should be greater than 0"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "width"], "'width' is not KEY=VALUE"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "roi_size=[32"], "'[32' is no YAML value"),
        (
            ["train", "pix2pix", "COHORT", "--out", "out", "--set", "optimiser=1", "--set", "optimiser.beta1=0"],
            "'optimiser' is given as a value and as a group",
        ),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "training.seed=1"], "use --seed"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--time-budget", "soon"], "'soon' is no duration"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--channels", "T2"], "has no channel 'T2'"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--role", "test"], "role test: is not in the roles file"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--subjects", "many"], "--subjects: 'many' is no number"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--subjects", "0.01"], "leaves 0 of them"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--subjects", "99"], "99 of 6 subjects"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--cases", "nowhere.txt"], "nowhere.txt: there is no such"),
        (["segment", "train", "COHORT", "--out", "out", "--set", "roi_size=[50,50]"], "2 multiples of 16"),
        (["segment", "train", "COHORT", "--out", "out", "--with", "nowhere"], "nowhere: has no dataset.json"),
        (["segment", "predict", "nowhere", "COHORT", "--out", "out"], "nowhere: is not a finished model folder"),
        (["segment", "predict", "GAN", "COHORT", "--out", "out"], "gan: is a model of pix2pix"),
        (["synthesize", "UNET", "COHORT", "--out", "out", "--n", "1"], "unet: is a model of segmentation"),
        (["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--masks", "blobs"], "unknown mask source"),
        (["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--masks", "files:no"], "no: there is no such"),
        (["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--blend", "full"], "use --blend lesion"),
        (["synthesize", "GAN", "VOLUMES", "--out", "out", "--n", "1"], "its lesion classes are not the model's"),
        (["evaluate", "nowhere", "COHORT"], "nowhere: there is no such folder"),
        (["benchmark", "nowhere.yaml", "--data", "COHORT", "--out", "out"], "nowhere.yaml: there is no such plan"),
        (["benchmark", "first", "--data", "COHORT", "--out", "out", "--scale", "x"], "first.yaml: has no scale 'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, what, slices, volumes, gan, unet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"COHORT": slices, "VOLUMES": volumes, "GAN": gan, "UNET": unet}
    assert what in error(*(known.get(argument, argument) for argument in arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "COHORT", "full", "--layout", "nnunet"],
        ["check", "COHORT", "--out", "full"],
        ["train", "pix2pix", "COHORT", "--out", "full"],
        ["train", "carvemix", "COHORT", "--out", "full"],
        ["synthesize", "GAN", "COHORT", "--out", "full", "--n", "1"],
        ["segment", "train", "COHORT", "--out", "full"],
        ["segment", "predict", "UNET", "COHORT", "--out", "full"],
        ["benchmark", "PLAN", "--data", "COHORT", "--out", "full"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_folder_that_is_not_empty_is_not_written_into(arguments, slices, gan, unet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "plan.yaml").write_text(
        "{arms: {real: {}}, baseline: real, subjects: {train: 0.4, development: 0.2, test: 0.4, numbers: [1]}}"
    )
    known = {"COHORT": slices, "GAN": gan, "UNET": unet, "PLAN": "plan.yaml"}
    message = error(*(known.get(argument, argument) for argument in arguments))
    assert "full: the output folder is not empty; name a new folder" in message
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_predictions_of_two_models_are_not_mixed(unet, slices, tmp_path):
    typed("segment", "train", slices, "--out", tmp_path / "other", "--steps", 2, "--seed", 1, *sets(UNET))
    typed("segment", "predict", unet, slices, "--out", tmp_path / "found", "--subjects", 1)
    message = error("segment", "predict", tmp_path / "other", slices, "--out", tmp_path / "found")
    assert "holds the predictions of another model" in message


def test_an_empty_cohort_is_refused(slices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copy(slices / "dataset.json", tmp_path / "empty")
    (tmp_path / "empty" / "imagesTr").mkdir()
    for command in (["check"], ["show"], ["train", "carvemix"], ["segment", "train"]):
        out = ["--out", "out"] if len(command) > 1 else []
        assert "empty: holds no usable case; put images into imagesTr" in error(*command, "empty", *out)


def test_a_cohort_without_lesions_is_refused_for_synthesis(tmp_path):
    tiny_cohort(tmp_path / "healthy", spatial_dims=2, n_subjects=2, n_healthy=2)
    message = error("train", "carvemix", tmp_path / "healthy", "--out", tmp_path / "out")
    assert "has no case with a lesion" in message


def test_cases_of_unknown_annotation_alone_are_no_training_truth(tmp_path):
    tiny_cohort(tmp_path / "unknown", spatial_dims=2, n_subjects=2, n_unknown=2)
    message = error("segment", "train", tmp_path / "unknown", "--out", tmp_path / "out")
    assert "has no annotated case" in message


@pytest.mark.parametrize("where", [0, 1, -1])
def test_debug_shows_the_traceback_wherever_it_stands(where, monkeypatch, capsys):
    arguments = ["check", "nowhere"]
    arguments.insert(len(arguments) if where == -1 else where, "--debug")
    monkeypatch.setattr(sys, "argv", ["lesionforge", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "error: nowhere: has no dataset.json" in shown


def test_a_place_that_cannot_be_written_is_named(slices, tmp_path):
    (tmp_path / "file").write_text("")
    message = error("show", slices, "--out", tmp_path / "file" / "sheet.png")
    assert str(tmp_path / "file") in message


def test_brackets_in_names_are_shown(slices, tmp_path):
    out = tmp_path / "[red]sheet[/red].png"
    assert out.name in typed("show", slices, "--out", out).output


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (["train", "pix2pix", "c", "--out", "o"], "with --resume goes on from the last checkpoint"),
        (["segment", "train", "c", "--out", "o"], "segment train: add --resume"),
        (["benchmark", "demo", "--data", "c", "--out", "o"], "the same command goes on where it was"),
        (["check", "c"], "stopped\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_says_how_to_go_on(monkeypatch, command, remedy):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("lesionforge.cohort.layouts.read_cohort", stop)
    monkeypatch.setattr("lesionforge.cohort.checks.check_folder", stop)
    result = typed(*command, code=130)
    assert remedy in result.stderr


def test_ctrl_c_during_training_keeps_the_checkpoint(slices, tmp_path, monkeypatch):
    from lesionforge.training.segmentation import SegmentationModule

    step = SegmentationModule.training_step

    def stopped(self, batch, batch_index):
        if self.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_index)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stopped)
        start = ["segment", "train", slices, "--out", tmp_path / "run", "--steps", 8, *sets(UNET)]
        result = typed(*start, code=130)
    assert "add --resume" in result.stderr
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "run" / "model.json").exists()
    typed(*start, "--resume")
    typed(*start[:3], "--out", tmp_path / "whole", *start[5:])
    stopped_run, whole = (torch_file(tmp_path / name) for name in ("run", "whole"))
    assert all(torch.equal(stopped_run[name], whole[name]) for name in whole)


def torch_file(folder):
    from lesionforge.training.model_folder import read_tensors

    return read_tensors(folder)


def test_training_says_how_far_it_is_where_no_bar_can_be_drawn(slices, tmp_path, monkeypatch):
    from lesionforge.training import progress

    monkeypatch.setattr(progress.PlainProgress.__init__, "__kwdefaults__", {"accumulate": 1, "seconds": 0.0})
    result = typed("segment", "train", slices, "--out", tmp_path / "run", "--steps", 5, *sets(UNET))
    lines = [line for line in result.stderr.splitlines() if line.startswith("run: step")]
    assert [int(re.search(r"step (\d+) of 5, ", line)[1]) for line in lines] == [1, 2, 3, 4, 5]
    assert all(re.search(r" min, loss \d", line) for line in lines[1:])


def test_exit_codes_reach_the_shell(tmp_path):
    command = [sys.executable, "-m", "lesionforge.cli", "check", str(tmp_path)]
    code = "import sys; from lesionforge.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code, *command[3:]], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "has no dataset.json" in result.stderr
