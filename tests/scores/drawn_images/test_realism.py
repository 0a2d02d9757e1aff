import mmap
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.cohort.people import People
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError, OutputError
from lesionforge.networks.googlenet import GoogLeNet
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.drawn_images import realism
from lesionforge.scores.drawn_images.realism import CONTROL, REAL, in_slices, judge_realism, share_called_real
from lesionforge.scores.drawn_images.realism_classifier import RealismConfig, RealOrDrawn, View, read_views
from lesionforge.training.items.samples import held
from tests.helpers import tiny_cohort, write_array
from tests.scores.drawn import blur, drawn_from

TINY = RealismConfig(side=32, width=0.06, steps=1, batch_size=2)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("real"), spatial_dims=2, n_subjects=12, cases_per_subject=2)


@pytest.fixture(scope="module")
def judged(real, tmp_path_factory):
    """Copies and blurred copies of real slices, judged by classifiers of half a minute altogether."""
    folder = tmp_path_factory.mktemp("judged")
    drawn = {"blurred": drawn_from(real, folder / "blurred", blur)}
    config = RealismConfig(side=32, width=0.1, steps=40, batch_size=16, learning_rate=3e-3)
    return judge_realism(real, drawn, out=folder / "out", config=config, device="cpu").set_index("cohort")["realism"]


@pytest.mark.slow
def test_blurred_slices_are_found_and_real_ones_pass(judged):
    assert share_called_real(judged["blurred"]) < 0.3
    assert share_called_real(judged[REAL]) > 0.6


@pytest.mark.slow
def test_of_real_against_real_about_half_is_called_real(judged):
    assert share_called_real(judged[CONTROL]) == pytest.approx(0.5, abs=0.2)
    assert len(judged[CONTROL]) == len(judged[REAL]) == 24


@pytest.mark.slow
def test_more_pass_at_a_lower_threshold(judged):
    assert share_called_real(judged["blurred"], 0.1) >= share_called_real(judged["blurred"], 0.5)


def trained_and_judged(monkeypatch, real, drawn, out, **options):
    """Return the table, and for each classifier the subjects that it is trained on and those that it judges."""
    seen = []

    def subjects(parts):
        return {group: {subject for one in part for subject in one.subjects} for group, part in parts.items()}

    def judge(self, train, test, name):
        seen.append((name, subjects(train), subjects(test)))
        for group, part in test.items():
            for one in part:
                yield one, group, 0.3

    monkeypatch.setattr(realism._Classifiers, "judge", judge)
    return judge_realism(real, drawn, out=out, config=TINY, device="cpu", **options), seen


def test_nobody_is_judged_by_a_classifier_that_was_trained_on_him(real, tmp_path, monkeypatch):
    drawn = {"a": drawn_from(real, tmp_path / "a"), "b": drawn_from(real, tmp_path / "b")}
    table, seen = trained_and_judged(monkeypatch, real, drawn, tmp_path / "out")
    assert [name for name, _, _ in seen] == ["half0", "control0", "half1", "control1"]
    for _, train, test in seen:
        assert not set.union(*train.values()) & set.union(*test.values())
        assert all(train.values())
    for name, train, test in seen:
        if name.startswith("control"):
            assert not train[REAL] & train[CONTROL]
            assert abs(len(test[REAL]) - len(test[CONTROL])) <= 1
    for name in ("a", "b", REAL, CONTROL):
        assert sorted(table[table["cohort"] == name]["subject_id"].unique()) == sorted(real.subjects)


def test_the_roles_are_swapped_where_a_control_was_a_real_one(real, tmp_path, monkeypatch):
    table, _ = trained_and_judged(monkeypatch, real, {"a": drawn_from(real, tmp_path / "a")}, tmp_path / "out")
    control = table[table["cohort"] == CONTROL]["realism"]
    assert (control == 0.3).sum() == (control == 0.7).sum() == 12
    assert share_called_real(control) == 0.5


def test_what_has_the_lesion_of_the_other_half_is_judged_but_not_trained_on(real, tmp_path, monkeypatch):
    cases = drawn_from(real, tmp_path / "a").cases
    other = {case.subject_id: cases[-1 - i].source_case for i, case in enumerate(cases)}
    mixed = real.with_cases([replace(case, mask_id=f"{other[case.subject_id]}+edited") for case in cases])
    table, seen = trained_and_judged(monkeypatch, real, {"a": mixed}, tmp_path / "out", control=False)
    for _, train, test in seen:
        assert not train["a"] & test[REAL]
    assert (table["cohort"] == "a").sum() == len(real)
    assert CONTROL not in set(table["cohort"])


def test_a_trained_classifier_is_read_and_not_trained_again(real, tmp_path, monkeypatch):
    drawn = {"a": drawn_from(real, tmp_path / "a")}
    first = judge_realism(real, drawn, out=tmp_path / "out", config=TINY, control=False, device="cpu")
    monkeypatch.setattr(
        "lesionforge.scores.drawn_images.realism_classifier.fit", lambda *a, **k: pytest.fail("trained again")
    )
    again = judge_realism(real, drawn, out=tmp_path / "out", config=TINY, control=False, device="cpu")
    assert first.equals(again)
    with pytest.raises(OutputError, match="half0: holds a classifier of other images; name a new folder"):
        judge_realism(real, {**drawn, "b": drawn["a"]}, out=tmp_path / "out", config=TINY, control=False)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_slices_beyond_the_limit_of_memory_are_the_same_on_disk(spatial_dims, tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path / "real", spatial_dims=spatial_dims, n_subjects=6)
    read, config = {REAL: cohort, "drawn": cohort.with_cases(cohort.cases[::-1])}, TINY
    preprocessing = in_slices(cohort, None)
    in_memory = realism._read(read, People(cohort), preprocessing, config)
    monkeypatch.setattr(realism, "held", partial(held, memory=2 * in_memory[REAL][0].views[0].image.nbytes))
    on_disk = realism._read(read, People(cohort), preprocessing, config)
    assert in_memory.keys() == on_disk.keys()
    for name, part in in_memory.items():
        assert [one.case_id for one in part] == [one.case_id for one in on_disk[name]]
        for one, other in zip(part, on_disk[name], strict=True):
            assert len(one.views) == len(other.views)
            for view, mapped in zip(one.views, other.views, strict=True):
                assert np.array_equal(view.image, mapped.image)
                assert np.array_equal(view.places, mapped.places)
    views = [view for part in on_disk.values() for one in part for view in one.views]
    assert sum(view.image.base is not None and isinstance(view.image.base, mmap.mmap) for view in views) > 2


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_classifier_of_other_images_with_the_same_names_is_refused(real, tmp_path, monkeypatch, interrupted):
    drawn, out = drawn_from(real, tmp_path / "a"), tmp_path / "out"
    options = {"out": out, "config": TINY, "control": False, "device": "cpu"}
    judge_realism(real, {"a": drawn}, **options)
    if interrupted:
        for left in ("model.json", "model.safetensors"):
            (out / "half0" / left).unlink()
    redrawn = drawn.with_cases(
        [replace(case, images=other.images) for case, other in zip(drawn, real.cases[::-1], strict=True)]
    )
    with pytest.raises((OutputError, ConfigError), match="half0"):
        judge_realism(real, {"a": redrawn}, **options)


def test_three_subjects_are_too_few(real, tmp_path):
    few = real.of_subjects(real.subjects[:3])
    with pytest.raises(CohortError, match="has 3 subjects with lesions, too few to train and test a classifier on"):
        judge_realism(few, {}, out=tmp_path)


def test_both_halves_need_drawn_cases(real, tmp_path):
    one = real.of_subjects(real.subjects[:1])
    with pytest.raises(CohortError, match="half of its subjects have no drawn case; draw cases into more scans"):
        judge_realism(real, {"a": drawn_from(one, tmp_path / "a")}, out=tmp_path / "out", config=TINY)


def view(size=(40, 70), head=np.s_[4:36, 10:60]):
    places = np.zeros(size, bool)
    places[head] = True
    return View(image=np.arange(np.prod(size), dtype=np.float16)[None].reshape(1, *size) * places, places=places)


def test_tiles_cover_the_head_and_have_one_size():
    shown = view()
    tiles = list(shown.tiles(32))
    assert len(tiles) == 2
    assert all(tile.shape == (1, 32, 32) for tile in tiles)
    values = shown.image[shown.image > 0]
    assert set(values.tolist()) <= set(np.concatenate([tile.ravel() for tile in tiles]).tolist())


def test_half_of_the_items_are_real_and_all_cohorts_are_drawn_from():
    parts = [
        [View(image=np.full((1, 32, 32), value, np.float16), places=np.ones((32, 32), bool))] for value in (1, 2, 3)
    ]
    items = [RealOrDrawn(parts[0], parts[1:], side=32, seed=0)[draw] for draw in range(40)]
    assert sum(float(item["real"]) for item in items) == 20
    assert all((item["image"].max() == 1) == bool(item["real"]) for item in items)
    assert {float(item["image"].max()) for item in items} == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("change", [lambda image: 0.5 * image, lambda image: image + 3 * (image == 0)])
def test_neither_brightness_nor_grey_air_can_be_seen(change, tmp_path):
    cohort = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=1)
    other = drawn_from(cohort, tmp_path / "drawn", change)
    preprocessing = Preprocessing.fit(fingerprint(cohort, cohort.channels), spatial_dims=2)
    (first,), (second,) = (read_views(part.cases[0], preprocessing, "head") for part in (cohort, other))
    assert np.array_equal(first.places, second.places)
    assert not second.image[:, ~second.places].any()
    np.testing.assert_allclose(first.image, second.image, atol=0.1)
    assert second.image[:, second.places].astype(float).std() == pytest.approx(1, abs=0.01)


def test_of_a_volume_the_slices_with_a_lesion_are_seen_and_crops_may_lie_on_it(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=1)
    preprocessing = Preprocessing.fit(fingerprint(cohort, cohort.channels), spatial_dims=2)
    label = preprocessing.forward(load_scan(cohort.cases[0], cohort.channels)).label > 0
    views = read_views(cohort.cases[0], preprocessing, "lesion")
    assert len(views) == label.any((0, 1)).sum()
    assert sum(one.places.sum() for one in views) == label.sum()


def test_a_lesion_that_vanishes_in_the_spacing_of_the_model_is_not_judged(tmp_path):
    cohort = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=4)
    small = np.zeros((64, 64), np.uint8)
    small[31, 31] = 1
    write_array(cohort.cases[0].label, small)
    coarse = Preprocessing.fit(fingerprint(cohort, cohort.channels), spatial_dims=2, spacing=(4.0, 4.0))
    assert read_views(cohort.cases[0], coarse, "lesion") == []
    config = TINY.model_copy(update={"look_at": "lesion"})
    drawn = {"same": drawn_from(cohort, tmp_path / "same", lambda image: image)}
    table = judge_realism(cohort, drawn, out=tmp_path / "out", config=config, preprocessing=coarse, control=False)
    assert set(table[table["cohort"] == REAL]["case_id"]) == {"case_001", "case_002", "case_003"}


@pytest.mark.parametrize("side", [32, 47])
def test_googlenet_takes_crops_of_any_size(side):
    network = GoogLeNet(in_channels=2, out_channels=3, width=0.05)
    assert network(torch.zeros(2, 2, side, side)).shape == (2, 3)
