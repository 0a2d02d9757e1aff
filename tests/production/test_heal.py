"""Removing lesions, and drawing them with a model that can do both."""

import json

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import CohortError, ConfigError, LeakError, ModelError, OutputError
from lesionforge.healers.base import Healed
from lesionforge.healers.registry import HEALERS, load_healer
from lesionforge.masks.bank import MaskBank
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.heal import heal_cohort
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training import inference
from lesionforge.training.loop import TrainingConfig
from tests.helpers import tiny_cohort
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.healers import perfect_healer, untrained_healer
from tests.synthesizers.models import ball_mask, read_samples, untrained_pix2pix

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
EACH = pytest.mark.parametrize("method", HEALERS)
LEVEL = 0.8


def stored(case, channel="FLAIR"):
    return read_raw(case.images[channel])


def assert_same_grid(case, source, channels):
    for channel in channels:
        before, after = stored(source, channel), stored(case, channel)
        assert after[0].dtype == before[0].dtype
        assert after[0].shape == before[0].shape
        assert np.array_equal(after[1], before[1])


@BOTH
def test_scans_maps_and_reconstructions_are_cohorts_on_the_scans_grid(spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    result = heal_cohort(perfect_healer(cohort, level=LEVEL), cohort, out=tmp_path / "out")
    assert not result.problems
    assert set(result.cohorts) == {"healed", "maps", "reconstructed"}
    for kind, written in result.cohorts.items():
        read = read_cohort(tmp_path / "out" / kind)
        assert [case.case_id for case in read] == [case.case_id for case in written]
        assert [case.annotation for case in read] == [case.annotation for case in written]
        assert [case.parents for case in read] == [case.parents for case in written]
        for case, source in zip(read, cohort, strict=True):
            assert (case.source_case, case.subject_id) == (source.case_id, source.subject_id)
            assert case.derived
            assert_same_grid(case, source, cohort.channels)
            with pytest.raises(LeakError):
                check_no_leak(read, cohort.with_cases([source]))


@BOTH
def test_what_the_networks_say_is_what_the_files_hold(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    model = perfect_healer(cohort, level=LEVEL)
    written = heal_cohort(model, cohort, out=tmp_path / "out").cohorts
    for number, source in enumerate(cohort):
        scan = load_scan(source, cohort.channels)
        ((_, high),) = model.info.preprocessing.limits(scan)
        bright = scan.image[0] > LEVEL * high
        healed, maps, again = (load_scan(written[k].cases[number], cohort.channels) for k in written)
        assert bright.any()
        assert not healed.label.any()
        assert np.allclose(healed.image[0][bright], LEVEL / 2 * high, atol=1)
        assert np.abs(healed.image - scan.image)[0][~bright].max() <= 0.5
        assert np.array_equal(maps.label > 0, bright)
        assert np.array_equal(maps.image, scan.image)
        assert np.allclose(np.minimum(again.image[0][bright], high), high, atol=1)
        assert np.array_equal(again.label, maps.label)


@BOTH
def test_what_shows_no_lesion_passes_unchanged_and_is_annotated_so(spatial_dims, cohorts, tmp_path):
    """Nothing is bright enough for this model: what it does not change is the scan's own, bit for bit."""
    cohort = cohorts[spatial_dims].healthy()
    written = heal_cohort(perfect_healer(cohort, level=2.0), cohort, out=tmp_path / "out", blend="lesion").cohorts
    for kind, read in written.items():
        for case, source in zip(read, cohort, strict=True):
            assert case.annotation is Annotation.LESION_FREE
            assert kind == "reconstructed" or np.array_equal(stored(case)[0], stored(source)[0])
            assert np.abs(stored(case)[0].astype(float) - stored(source)[0])[stored(source)[0] < 90].max() <= 1


@BOTH
@pytest.mark.parametrize("resampled", [False, True])
def test_blending_keeps_the_scan_outside_the_lesion_that_was_found(resampled, spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    spacing = {2: 1.4, 3: 2.7}[spatial_dims] if resampled else None
    grid = None if spacing is None else (spacing,) * spatial_dims
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, spacing=grid)
    model = perfect_healer(cohort, level=0.9, preprocessing=preprocessing, margin_mm=3.0)
    written = heal_cohort(model, cohort, out=tmp_path / "out", blend="lesion").cohorts
    changed = 0
    for number, source in enumerate(cohort):
        found = load_scan(written["maps"].cases[number], cohort.channels)
        near, _ = hole_around(found.label, 3.0, found.spacing)
        differs = stored(written["healed"].cases[number])[0] != stored(source)[0]
        assert not differs[~near].any()
        changed += int(differs.sum())
    assert changed


@BOTH
def test_scans_of_another_spacing_are_named(spatial_dims, cohorts, tmp_path):
    cohort, dims = cohorts[spatial_dims], {"spatial_dims": spatial_dims}
    own = load_scan(cohort.cases[0], cohort.channels).spacing
    for factor, named in ((1.0, ()), (1.001, ()), (1.5, tuple(case.case_id for case in cohort))):
        grid = tuple(mm * factor for mm in own)
        preprocessing = Preprocessing(**dims, channels=cohort.channels, spacing=grid)
        healer = perfect_healer(cohort, preprocessing=preprocessing)
        for _ in ("new", "again"):
            assert heal_cohort(healer, cohort, out=tmp_path / str(factor)).resampled == named


@EACH
@BOTH
def test_a_saved_healer_does_the_same(method, spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    model = untrained_healer(method, cohort)
    model.save(tmp_path / "m")
    loaded = load_healer(tmp_path / "m")
    sample = read_samples(cohort)[0]
    first, second = (healer.heal(sample) for healer in (model, loaded))
    assert loaded.info == model.info
    assert first.image.shape == sample.image.shape
    assert first.image.tobytes() == second.image.tobytes()
    assert not np.allclose(first.image, sample.image, atol=0.1)
    low, high = model.info.preprocessing.output
    assert first.image.min() >= low
    assert first.image.max() <= high
    assert (first.pathology is not None) == model.finds_lesions == (method == "pseudo_healthy")
    assert (first.reconstruction is not None) == model.reconstructs == (method != "healing_gan")


@EACH
@BOTH
def test_previews_show_what_the_method_has_and_leave_training_alone(method, spatial_dims, cohorts):
    """Also without averaging, where the networks that are shown would be those that train."""
    cohort = cohorts[spatial_dims]
    info = untrained_healer(method, cohort, optimiser={"ema_decay": 0.0}).info
    kind, samples = HEALERS[method], read_samples(cohort)
    module, items = kind.module(info, TrainingConfig()), kind.items(samples, info, seed=0, name="Tiny")
    figure = kind.picture(info, module, items)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    shown = {"pseudo_healthy": ["map", "reconstruction"], "healing_cyclegan": ["reconstruction"]}
    wanted = ["pathological", "healed", *shown.get(method, [])]
    if method == "mask_cyclegan":
        wanted = [
            "pathological",
            "its mask",
            "healed",
            "drawn again",
            "healthy",
            "random mask",
            "drawn",
            "healed again",
        ]
    assert titles == wanted
    assert module.generator.training
    assert all(weight.requires_grad for weight in module.generator.parameters())


@EACH
def test_every_method_writes_what_it_has(method, cohorts, tmp_path):
    cohort = cohorts[2]
    written = heal_cohort(untrained_healer(method, cohort), cohort, out=tmp_path / "out").cohorts
    wanted = {"pseudo_healthy": ["healed", "maps", "reconstructed"], "healing_gan": ["healed"]}
    assert list(written) == wanted.get(method, ["healed", "reconstructed"])
    if method == "healing_cyclegan":
        read = read_cohort(tmp_path / "out" / "reconstructed")
        assert {case.annotation for case in read} == {Annotation.UNKNOWN}
    if method in ("healing_gan", "healing_cyclegan"):
        with pytest.raises(ConfigError, match="does not say where the lesion is"):
            heal_cohort(untrained_healer(method, cohort), cohort, out=tmp_path / "other", blend="lesion")


def test_a_2d_model_takes_a_volume_slice_by_slice_in_sub_batches(cohorts, monkeypatch):
    cohort = cohorts[3]
    model = untrained_healer("pseudo_healthy", cohort, spatial_dims=2, roi_size=(32, 32))
    sample = read_samples(cohort, model.info.preprocessing)[0]
    whole = model.heal(sample)
    monkeypatch.setitem(inference.SUB_BATCH_VOXELS, "cpu", 1)
    assert np.allclose(model.heal(sample).image, whole.image, atol=1e-4)
    for z in (0, 7):
        alone = model.heal(sample.slice(z))
        assert np.allclose(alone.image, whole.image[..., z], atol=1e-4)
        assert np.allclose(alone.pathology, whole.pathology[..., z], atol=1e-4)


def test_a_stopped_run_goes_on_and_another_one_is_refused(cohorts, tmp_path):
    cohort = cohorts[2]
    model = perfect_healer(cohort)
    heal_cohort(model, cohort, out=tmp_path / "out")
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "provenance" / "case_001.json").unlink()
    (tmp_path / "out" / "healed" / "imagesTr" / "case_001_healed_0000.png").unlink()
    heal_cohort(model, cohort, out=tmp_path / "out")
    assert contents(tmp_path / "out") == whole
    for other in ({"blend": "lesion"}, {"cohort": cohort.healthy()}):
        with pytest.raises(OutputError):
            heal_cohort(model, other.pop("cohort", cohort), out=tmp_path / "out", **other)
    assert contents(tmp_path / "out") == whole


def test_labels_are_not_read_and_bad_scans_are_listed(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3, n_unknown=1)
    cohort.cases[0].label.unlink()
    cohort.cases[1].images["FLAIR"].write_bytes(b"nonsense")
    result = heal_cohort(perfect_healer(cohort, spatial_dims=2), cohort, out=tmp_path / "out")
    assert [case.source_case for case in result.cohorts["healed"]] == ["case_000", "case_002"]
    assert "case_001" in str(result.problems[0])
    assert "case_001" in (tmp_path / "out" / "healed" / "problems.csv").read_text()
    record = json.loads((tmp_path / "out" / "provenance" / "case_002.json").read_text())
    assert record["annotation"] == "unknown"
    assert record["parents"] == ["somebody", "sub_02"]


@BOTH
def test_scans_that_a_model_cannot_take_are_refused_in_a_line(spatial_dims, cohorts, tmp_path):
    model = perfect_healer(cohorts[spatial_dims])
    foreign = model.info.preprocessing.model_copy(update={"channels": ("T2",)})
    refused = type(model)(model.info.model_copy(update={"preprocessing": foreign}), model.networks)
    with pytest.raises(CohortError, match="no channel 'T2'"):
        heal_cohort(refused, cohorts[spatial_dims], out=tmp_path / "out")
    if spatial_dims == 3:
        with pytest.raises(ConfigError, match="fitted for volumes"):
            heal_cohort(model, cohorts[2], out=tmp_path / "out")


def test_a_baseline_draws_no_lesions_and_a_synthesizer_removes_none(cohorts, tmp_path):
    untrained_healer("healing_gan", cohorts[2]).save(tmp_path / "m")
    with pytest.raises(ModelError, match="is a model of healing_gan"):
        load_synthesizer(tmp_path / "m")
    info = untrained_healer("healing_gan", cohorts[2]).info.model_copy(update={"method": "carvemix"})
    untrained_healer("healing_gan", cohorts[2]).save(tmp_path / "n")
    (tmp_path / "n" / "model.json").write_text(info.model_dump_json())
    with pytest.raises(ModelError, match="is a model of carvemix"):
        load_healer(tmp_path / "n")


@BOTH
def test_the_reconstructor_draws_where_the_mask_says(spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    model = perfect_healer(cohort)
    sample = read_samples(cohort)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3, value=2)
    drawn = model.synthesize(sample, mask, generator(0))
    assert np.allclose(drawn.image[:, mask > 0], model.info.preprocessing.output[1])
    beside, before = drawn.image[:, mask == 0], sample.image[:, mask == 0]
    not_drawn = (beside == before) & (spatial_dims == 3)  # windows of a volume that show no lesion
    assert np.allclose(beside[~not_drawn], np.minimum(before, 1)[~not_drawn], atol=1e-5)
    assert np.array_equal(drawn.label, np.where(mask > 0, mask, sample.label))


@BOTH
def test_a_pseudo_healthy_model_synthesizes_like_any_other(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    untrained_healer("pseudo_healthy", cohort, margin_mm=4.0).save(tmp_path / "m")
    model = load_synthesizer(tmp_path / "m")
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out")
    assert not result.problems
    for case in result.cohort:
        old, new = (load_scan(c, cohort.channels) for c in (cohort[case.source_case], case))
        near, _ = hole_around(np.where(new.label != old.label, new.label, 0), 4.0, old.spacing)
        differs = (new.image != old.image)[0]
        assert differs.any()
        assert not differs[~near].any()
        assert "somebody" in case.parents


def test_slices_that_the_mask_leaves_out_stay_as_they_are(cohorts):
    cohort = cohorts[3]
    model = untrained_healer("pseudo_healthy", cohort, spatial_dims=2)
    sample = read_samples(cohort, model.info.preprocessing)[0]
    mask = ball_mask(sample.label.shape, (16, 16, 8), 2)
    drawn = model.synthesize(sample, mask, generator(0))
    assert np.array_equal((drawn.image != sample.image).any((0, 1, 2)), mask.any((0, 1)))


@BOTH
def test_a_lesion_is_removed_and_another_one_drawn_elsewhere(spatial_dims, cohorts, tmp_path):
    """The label is the new lesion alone, and nothing changes but around it and around the old one."""
    cohort = cohorts[spatial_dims].with_lesions()
    healer = perfect_healer(cohort, level=0.85, margin_mm=2.0)
    healer = type(healer)(healer.info.model_copy(update={"training_subjects": ("healed_with",)}), healer.networks)
    drawer = perfect_healer(cohort, margin_mm=2.0)
    masks = MaskBank(cohort)
    result = synthesize(drawer, cohort, masks, tmp_path / "out", n=3, healer=healer)
    assert len(result.cohort)
    for case in result.cohort:
        old, new = (load_scan(c, cohort.channels) for c in (cohort[case.source_case], case))
        ((_, high),) = healer.info.preprocessing.limits(old)
        removed = (old.label > 0) & (old.image[0] > 0.9 * high)
        assert new.label.any()
        assert not (new.label[old.label > 0] > 0).any()
        assert removed.any()
        assert (new.image[0][removed] < 0.7 * old.image[0][removed]).all()
        bright = old.image[0] > 0.85 * high
        near, _ = hole_around(((old.label > 0) | bright | (new.label > 0)).astype(np.int16), 2.0, old.spacing)
        assert np.array_equal(new.image[0][~near], old.image[0][~near])
        assert {"healed_with", "somebody"} <= set(case.parents)
        assert case.extra["healed_by"] == "pseudo_healthy"
    (case, *_) = read_cohort(tmp_path / "out")
    assert case.extra["healed_by"] == "pseudo_healthy"
    with pytest.raises(OutputError):
        synthesize(drawer, cohort, masks, tmp_path / "out", n=3)


def test_what_heals_must_have_the_channels_of_what_draws(cohorts, rich_cohorts, tmp_path):
    healer, drawer = perfect_healer(rich_cohorts[2]), perfect_healer(cohorts[2])
    with pytest.raises(ConfigError, match="takes FLAIR, T1, but"):
        synthesize(drawer, cohorts[2], MaskBank(cohorts[2]), tmp_path / "out", healer=healer)


def healer_that_changes(cohort, inside, beside):
    """A healer that brightens lesions and the rest by shares of the range of 2."""
    healer = untrained_healer("mask_cyclegan", cohort)

    def heal(sample):
        image = (sample.image + np.where(sample.label > 0, inside, beside)).astype(np.float32)
        return Healed(image=image, reconstruction=image)

    healer.heal = heal
    return healer


@BOTH
@pytest.mark.parametrize("blend", ["full", "lesion"])
@pytest.mark.parametrize(("change", "kept"), [(0.0, True), (0.019, True), (0.021, False)])
def test_scans_that_keep_their_lesions_are_named(change, kept, blend, spatial_dims, cohorts, tmp_path):
    """A change is a share of the range of 2; what happens beside the lesion does not count."""
    cohort = cohorts[spatial_dims]
    healer = healer_that_changes(cohort, change, 0.5)
    result = heal_cohort(healer, cohort, out=tmp_path / "out", blend=blend)
    with_lesions = tuple(case.case_id for case in cohort.with_lesions())
    assert result.unchanged == (with_lesions if kept else ())
    again = heal_cohort(healer, cohort, out=tmp_path / "out", blend=blend)
    assert again.unchanged == result.unchanged


@BOTH
@pytest.mark.parametrize(("change", "kept"), [(0.019, True), (0.021, False)])
def test_no_lesion_is_drawn_into_a_scan_that_keeps_its_own(change, kept, spatial_dims, cohorts, tmp_path):
    """Its label would say that the old lesion is gone; the other scans are drawn into."""
    cohort = cohorts[spatial_dims]
    healer = healer_that_changes(cohort, change, 0.0)
    model, masks = untrained_pix2pix(cohort, condition="inpaint"), MaskBank(cohort)
    result = synthesize(model, cohort, masks, tmp_path / "out", n=len(cohort), healer=healer)
    left = {str(problem).partition(":")[0] for problem in result.problems if "keeps its lesions" in str(problem)}
    assert left == ({case.case_id for case in cohort.with_lesions()} if kept else set())
    assert {case.source_case for case in result.cohort}.isdisjoint(left)
