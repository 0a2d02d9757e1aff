"""Training what removes lesions, and removing them, as a user types it."""

from dataclasses import replace

import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort, write_nnunet
from lesionforge.cohort.scan import load_scan
from lesionforge.training.model_folder import read_info
from tests.cli.commands import error, sets, typed
from tests.helpers import tiny_cohort
from tests.synthesizers.healers import untrained_healer

TINY = [
    *("width=0.1", "blocks=1", "critic_channels=[4,8]", "roi_size=[32,32]"),
    *("training.epoch_steps=2", "training.batch_size=2"),
]


@pytest.fixture(scope="module")
def healer(slices, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "pseudo_healthy"
    options = ["--steps", 2, *sets([*TINY, "segmentor_channels=[8,16]"])]
    typed("train", "pseudo_healthy", slices, "--out", out, "--unpaired", *options)
    return out


def test_unpaired_has_a_flag_and_previews_are_drawn(healer):
    info = read_info(healer)
    assert info.config["mode"] == "unpaired"
    assert info.training_cases == tuple(f"case_00{n}" for n in range(5))
    assert list((healer / "previews").glob("*.png"))


def test_a_cohort_is_healed(healer, slices, tmp_path):
    result = typed("heal", healer, slices, "--out", tmp_path / "out", "--role", "final")
    assert "healed: 2 cases" in result.output
    for kind in ("healed", "maps", "reconstructed"):
        written = read_cohort(tmp_path / "out" / kind)
        assert [case.source_case for case in written] == ["case_002", "case_003"]
        assert (tmp_path / "out" / kind / "sheet.png").is_file()
        assert all(set(read_info(healer).training_subjects) <= set(case.parents) for case in written)
    healed = read_cohort(tmp_path / "out" / "healed")
    assert {case.annotation for case in healed} == {Annotation.LESION_FREE}


def test_the_model_draws_lesions_into_healed_scans(healer, slices, tmp_path):
    typed("heal", healer, slices, "--out", tmp_path / "out", "--role", "final")
    options = ["--n", 2, "--masks", "bank", "--masks-from", slices, "--min-volume", 10]
    typed("synthesize", healer, tmp_path / "out" / "healed", "--out", tmp_path / "drawn", *options)
    drawn = read_cohort(tmp_path / "drawn")
    assert all(load_scan(case, drawn.channels).label.any() for case in drawn)


def test_lesions_are_removed_and_others_drawn_in_one_command(healer, slices, tmp_path):
    options = ["--n", 2, "--masks", "ellipsoids", "--min-volume", 10, "--role", "final", "--heal", healer]
    typed("synthesize", healer, slices, "--out", tmp_path / "out", *options)
    for case in read_cohort(tmp_path / "out"):
        source = read_cohort(slices)[case.source_case]
        old, new = (load_scan(c, ["FLAIR"]) for c in (source, case))
        assert case.extra["healed_by"] == "pseudo_healthy"
        assert not new.label[old.label > 0].any()
        assert new.label.any()


@pytest.mark.parametrize("method", ["healing_gan", "healing_cyclegan"])
def test_the_baselines_are_trained_and_draw_nothing(method, slices, tmp_path):
    typed("train", method, slices, "--out", tmp_path / "m", "--steps", 2, *sets(TINY))
    assert read_info(tmp_path / "m").method == method
    message = error("synthesize", tmp_path / "m", slices, "--out", tmp_path / "out", "--n", 1)
    assert f"is a model of {method}" in message


def test_a_model_that_is_told_where_the_lesions_are_draws_and_heals(slices, tmp_path):
    options = ["--steps", 1, *sets([*TINY, "optimiser.n_critic=1"])]
    typed("train", "mask_cyclegan", slices, "--out", tmp_path / "m", *options)
    assert list((tmp_path / "m" / "previews").glob("*.png"))
    draw = ["synthesize", tmp_path / "m", slices, "--n", 2, "--masks", "bank", "--min-volume", 10]
    for blend, then in (
        ("lesion", "blending took it back"),
        ("full", "the whole image is new, as --blend full asks for"),
    ):
        said = typed(*draw, "--out", tmp_path / blend, "--blend", blend).output
        assert "outside the masks mask_cyclegan changed the heads by" in said
        assert then in said.replace("\n", " ")
    unknown = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, n_unknown=1)
    for blend, then in (("lesion", "blending took it back"), ("full", "with --blend lesion blending takes it back")):
        heal = ["heal", tmp_path / "m", tmp_path / "c", "--out", tmp_path / f"healed_{blend}", "--blend", blend]
        result = typed(*heal, code=1)
        said = result.output.replace("\n", " ")
        assert f"healed_{blend}/healed: 1 cases" in said
        assert "outside the lesions mask_cyclegan changed the heads by" in said
        assert then in said
        assert f"{unknown.cases[1].case_id}: its lesions are unknown" in result.output + result.stderr


def test_lesions_without_masks_are_for_unpaired_training(tmp_path):
    cohort = tiny_cohort(tmp_path / "all", spatial_dims=2, n_subjects=4, n_healthy=1)
    bare = replace(cohort.cases[0], label=None)
    write_nnunet(cohort.with_cases([bare, *cohort.cases[1:]]), tmp_path / "some")
    train = ["train", "pseudo_healthy", tmp_path / "some", "--steps", 1, *sets([*TINY, "segmentor_channels=[8,16]"])]
    message = error(*train, "--out", tmp_path / "paired")
    assert "case_000: has a lesion but no mask" in message
    assert "--unpaired" in message
    typed(*train, "--out", tmp_path / "unpaired", "--unpaired")
    assert "case_000" in read_info(tmp_path / "unpaired").training_cases


def test_training_on_slices_of_volumes_says_what_their_levels_tell(tmp_path):
    tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=4, n_healthy=2, shape=(32, 32, 10))
    result = typed("train", "healing_gan", tmp_path / "c", "--out", tmp_path / "m", "--steps", 2, *sets(TINY))
    assert "healthy slices lie at the level of a pathological one" in result.output
    assert "AUC" in result.output


def test_what_cannot_be_is_told_in_a_line(slices, volumes, gan, tmp_path):
    ill = tiny_cohort(tmp_path / "ill", spatial_dims=2, n_subjects=2)
    well = tiny_cohort(tmp_path / "well", spatial_dims=2, n_subjects=2, n_healthy=2)
    untrained_healer("healing_gan", ill).save(tmp_path / "m")
    out, tiny = ["--out", tmp_path / "out"], ["--steps", 1, *sets(TINY)]
    assert "lesion-free" in error("train", "healing_gan", tmp_path / "ill", *out, *tiny)
    assert "with a lesion" in error("train", "healing_gan", tmp_path / "well", *out, *tiny)
    assert "mode" in error("train", "healing_gan", slices, *out, "--unpaired", *tiny)
    assert "is a model of pix2pix" in error("heal", gan, slices, *out)
    assert "does not say where" in error("heal", tmp_path / "m", slices, *out, "--blend", "lesion")
    assert len(well) == 2
    tiny_cohort(tmp_path / "t2", spatial_dims=2, n_subjects=2, channels=("T2",))
    assert "has no channel 'FLAIR'" in error("heal", tmp_path / "m", tmp_path / "t2", *out)
    assert not (tmp_path / "out").exists()
