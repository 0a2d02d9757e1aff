import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from lesionforge.audit.membership import AreaUnderCurve
from lesionforge.audit.white_box import CRITIC_SCORE, RECONSTRUCTION, UNTRAINED, white_box
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import ModelError
from lesionforge.synthesizers.registry import SYNTHESIZERS, load_synthesizer
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import CRITIC
from tests.audit.memoriser import people
from tests.helpers import write_array
from tests.synthesizers.models import fit_library, tiny_options, tiny_training


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("white_box")
    return folder, people(folder, "train", 4, seed=1), people(folder, "held", 4, seed=2)


def trained(method, cohorts, name, **options):
    folder, training, _ = cohorts
    SYNTHESIZERS[method].fit(
        training,
        channels=training.channels,
        config=tiny_options(2, **options),
        training=tiny_training(steps=1),
        out=folder / name,
    )
    return folder / name


def judged(model, cohorts, **options):
    _, training, control = cohorts
    members = frozenset(training.subjects)
    return white_box(model, training, control, members, **{"crops": 2, "seed": 0, "device": "cpu", **options})


@pytest.mark.parametrize(
    ("method", "options"),
    [("pix2pix", {"condition": "inpaint"}), ("spade", {"roi_size": (32, 32), "latent": 8}), ("cyclegan", {})],
)
def test_every_subject_has_both_scores_and_the_same_every_time(method, options, cohorts):
    model = trained(method, cohorts, f"{method}_scores", **options)
    table = judged(model, cohorts)
    assert set(table["attack"]) == {CRITIC_SCORE, RECONSTRUCTION}
    assert table.groupby("attack").size().tolist() == [8, 8]
    assert np.isfinite(table["score"]).all()
    assert (table.loc[table["attack"] == RECONSTRUCTION, "score"] < 0).all()
    assert judged(model, cohorts).equals(table)


def test_untrained_networks_know_no_weight_of_the_folder_and_see_a_split_that_differs(cohorts):
    folder, training, _ = cohorts
    model = trained("pix2pix", cohorts, "untrained", condition="label", roi_size=(64, 64))
    before = judged(model, cohorts, trained=False)
    assert set(before["attack"]) == {f"{name}{UNTRAINED}" for name in (CRITIC_SCORE, RECONSTRUCTION)}
    assert not np.isin(before["score"], judged(model, cohorts)["score"]).any()
    for name in ("model.safetensors", CRITIC):
        save_file({key: -tensor for key, tensor in load_file(model / name).items()}, model / name)
    assert judged(model, cohorts, trained=False).equals(before)
    noisy = people(folder, "noisy", 4, seed=3)
    for case in noisy:
        scan = load_scan(case, noisy.channels)
        image = scan.image[0] + np.random.default_rng(0).normal(0, 60, scan.spatial_shape) * (scan.image[0] > 0)
        write_array(case.images["FLAIR"], np.clip(image, 0, 255), scan.affine)
    apart = judged(model, (folder, training, noisy), trained=False)
    areas = [AreaUnderCurve()(rows) for _, rows in apart.groupby("attack")]
    assert max(abs(area - 0.5) for area in areas) == 0.5


def test_the_critic_lies_in_a_file_of_its_own_that_drawing_does_not_need(cohorts):
    model = trained("pix2pix", cohorts, "own_file", condition="inpaint")
    critic, before = load_file(model / CRITIC), judged(model, cohorts)
    save_file({name: -tensor for name, tensor in critic.items()}, model / CRITIC)
    after = judged(model, cohorts)
    changed = (before["score"] != after["score"]).groupby(before["attack"]).any()
    assert changed[CRITIC_SCORE]
    assert not changed[RECONSTRUCTION]
    (model / CRITIC).unlink()
    assert load_synthesizer(model).method == "pix2pix"
    with pytest.raises(ModelError, match=r"holds no critic\.safetensors"):
        judged(model, cohorts)


def test_a_method_without_a_critic_and_a_critic_of_another_model_are_refused(cohorts):
    folder, training, _ = cohorts
    fit_library("copy_paste", training, folder / "copy_paste")
    with pytest.raises(ModelError, match="copy_paste has no white-box attack"):
        judged(folder / "copy_paste", cohorts)
    model = trained("pix2pix", cohorts, "other_critic", condition="inpaint")
    save_file({"weight": load_file(model / "model.safetensors")["lesion_intensities"]}, model / CRITIC)
    with pytest.raises(ModelError):
        judged(model, cohorts)


@pytest.mark.slow
def test_a_generator_trained_for_long_on_few_scans_gives_its_members_away(cohorts, tmp_path):
    _, training, control = cohorts
    whole = {"roi_size": (64, 64), "channels": (16, 32, 64), "optimiser": {"ema_decay": 0}}
    options = tiny_options(2, condition="label", augment=False, lesion_share=1.0) | whole
    SYNTHESIZERS["pix2pix"].fit(
        training,
        channels=training.channels,
        config=options,
        training=TrainingConfig(steps=400, batch_size=4, epoch_steps=400, device="cpu"),
        out=tmp_path / "model",
    )
    table = white_box(
        tmp_path / "model", training, control, frozenset(training.subjects), crops=1, seed=0, device="cpu"
    )
    area = AreaUnderCurve()(table[table["attack"] == RECONSTRUCTION].reset_index(drop=True))
    assert area > 0.8
