"""Healing and drawing at a mask, on disk and in memory."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import ndimage
from torch import nn

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import CohortError, ConfigError, OutputError
from lesionforge.healers.mask_cyclegan import MaskCycleGAN
from lesionforge.masks.bank import MaskBank
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.drawing import draw_into
from lesionforge.production.heal import heal_cohort
from lesionforge.production.network_changes import changed_outside
from lesionforge.seeding import generator
from lesionforge.synthesizers.translation.conditions import one_hot
from lesionforge.training.items.samples import cached_samples
from tests.helpers import tiny_cohort
from tests.synthesizers.folders import synthesize
from tests.synthesizers.healers import Brighten, healer_options, untrained_healer
from tests.synthesizers.models import ball_mask, read_samples, tiny_training

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


class Darken(nn.Module):
    """Draws an image whose mask, in its other channels, is black."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return x[:, : self.channels] * (1 - x[:, self.channels :].amax(1, keepdim=True))


def exact(cohort, **options):
    """A model that blackens and brightens exactly the mask."""
    model, channels = untrained_healer("mask_cyclegan", cohort, **options), len(cohort.channels)
    networks = {"healthy": Darken(channels), "pathological": Brighten(channels)}
    return MaskCycleGAN(model.info, nn.ModuleDict(networks))


def stored(case, channel="FLAIR"):
    return read_raw(case.images[channel])[0]


@BOTH
def test_it_removes_the_lesions_of_the_label_and_draws_them_again(spatial_dims, rich_cohorts):
    cohort = rich_cohorts[spatial_dims]
    model, sample = exact(cohort), read_samples(cohort)[0]
    low, high = model.info.preprocessing.output
    healed, lesion = model.heal(sample), sample.label > 0
    assert lesion.any()
    assert np.allclose(healed.image[:, lesion], low)
    assert np.allclose(healed.reconstruction[:, lesion], high)
    assert np.allclose(healed.image[:, ~lesion], np.minimum(sample.image, high)[:, ~lesion], atol=1e-5)
    assert healed.pathology is None


@BOTH
def test_it_draws_lesions_at_a_mask(spatial_dims, rich_cohorts):
    cohort = rich_cohorts[spatial_dims]
    model, sample = exact(cohort), read_samples(cohort)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3, value=2)
    drawn = model.synthesize(sample, mask, generator(0))
    assert np.allclose(drawn.image[:, mask > 0], model.info.preprocessing.output[1])
    assert np.array_equal(drawn.label, np.where(mask > 0, mask, sample.label))


@BOTH
def test_a_lesion_free_sample_stays_as_it_is(spatial_dims, cohorts):
    """Also with networks that change everything."""
    cohort = cohorts[spatial_dims].healthy()
    sample = read_samples(cohort)[0]
    healed = untrained_healer("mask_cyclegan", cohort).heal(sample)
    assert not sample.label.any()
    assert np.array_equal(healed.image, sample.image)


def test_slices_without_a_lesion_stay_as_they_are(cohorts):
    model = untrained_healer("mask_cyclegan", cohorts[3], spatial_dims=2)
    sample = read_samples(cohorts[3], model.info.preprocessing)[0]
    changed = (model.heal(sample).image != sample.image).any((0, 1, 2))
    assert np.array_equal(changed, sample.label.any((0, 1)))


@BOTH
def test_healed_scans_are_lesion_free_and_reconstructed_ones_have_the_labels(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    result = heal_cohort(exact(cohort), cohort, out=tmp_path / "out")
    assert not result.problems
    assert list(result.cohorts) == ["healed", "reconstructed"]
    for kind in result.cohorts:
        for case, source in zip(read_cohort(tmp_path / "out" / kind), cohort, strict=True):
            made, scan = load_scan(case, cohort.channels), load_scan(source, cohort.channels)
            assert np.array_equal(made.label, scan.label if kind == "reconstructed" else np.zeros_like(scan.label))
            assert made.image[0][scan.label > 0].max(initial=0) < 1 or kind == "reconstructed"
            if not scan.label.any():
                assert case.annotation is Annotation.LESION_FREE
                assert np.array_equal(stored(case), stored(source))
    records = [json.loads((tmp_path / "out" / "provenance" / f"{case.case_id}.json").read_text()) for case in cohort]
    assert [record["has_lesion"] for record in records] == [case.annotation is Annotation.LESION for case in cohort]


@BOTH
@pytest.mark.parametrize("resampled", [False, True])
def test_blending_keeps_the_scan_outside_the_label_and_its_margin(resampled, spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    own = load_scan(cohort.cases[0], cohort.channels).spacing
    grid = tuple(1.3 * mm for mm in own) if resampled else None
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, spacing=grid)
    model = untrained_healer("mask_cyclegan", cohort, preprocessing=preprocessing, margin_mm=3.0)
    written = heal_cohort(model, cohort, out=tmp_path / "out", blend="lesion").cohorts
    for case, source in zip(written["healed"], cohort, strict=True):
        scan = load_scan(source, cohort.channels)
        near, _ = hole_around(scan.label, 3.0, scan.spacing)
        differs = stored(case) != stored(source)
        assert not differs[~near].any()
        assert differs.any() == scan.label.any()


def test_scans_whose_lesions_are_unknown_are_listed_and_the_others_healed(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1, n_unknown=1)
    bare = replace(cohort.cases[1], label=None)
    cohort = cohort.with_cases([cohort.cases[0], bare, *cohort.cases[2:]])
    result = heal_cohort(exact(cohort), cohort, out=tmp_path / "out")
    assert [case.source_case for case in result.cohorts["healed"]] == ["case_000", "case_002"]
    assert [str(problem).split(":")[0] for problem in result.problems] == ["case_001", "case_003"]
    for problem in result.problems:
        assert "its lesions are unknown" in str(problem)
        assert "\n" not in str(problem)


def test_lesions_of_an_unknown_class_or_between_the_voxels_are_told(cohorts, tmp_path):
    cohort = cohorts[2].with_lesions()
    sample = read_samples(cohort)[0]
    with pytest.raises(CohortError, match="class 7, which the model does not know"):
        exact(cohort).heal(replace(sample, label=sample.label * 7))
    coarse = Preprocessing(spatial_dims=2, channels=cohort.channels, spacing=(30.0, 30.0))
    result = heal_cohort(exact(cohort, preprocessing=coarse), cohort, out=tmp_path / "out")
    lost = [str(problem) for problem in result.problems]
    assert lost
    assert all("its lesions fall between the voxels" in problem for problem in lost)


def test_a_changed_label_is_another_run(tmp_path):
    """The label is part of what a healed scan was made of, unlike with methods that do not read it."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    for method in ("mask_cyclegan", "pseudo_healthy"):
        heal_cohort(untrained_healer(method, cohort), cohort, out=tmp_path / method)
    label = cohort.cases[0].label
    label.write_bytes(cohort.cases[1].label.read_bytes())
    heal_cohort(untrained_healer("pseudo_healthy", cohort), cohort, out=tmp_path / "pseudo_healthy")
    with pytest.raises(OutputError, match="another label"):
        heal_cohort(untrained_healer("mask_cyclegan", cohort), cohort, out=tmp_path / "mask_cyclegan")


@BOTH
def test_old_lesions_are_removed_before_new_ones_are_drawn(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims].with_lesions()
    model = exact(cohort, margin_mm=2.0)
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", n=3, healer=model)
    assert len(result.cohort)
    for case in result.cohort:
        old, new = (load_scan(c, cohort.channels) for c in (cohort[case.source_case], case))
        assert not (new.label[old.label > 0] > 0).any()
        far, _ = hole_around(new.label, 2.0, old.spacing)
        assert np.abs(new.image[0][(old.label > 0) & ~far]).max(initial=0) < 1
        assert case.extra["healed_by"] == "mask_cyclegan"


def test_a_volume_is_drawn_and_healed_in_the_windows_that_show_a_lesion(cohorts):
    """Within the mask it is what the whole drawn volume shows; where no window reaches, it is the scan."""
    model = untrained_healer("mask_cyclegan", cohorts[3], roi_size=(8, 10, 6))
    sample = read_samples(cohorts[3])[0]
    mask = np.zeros_like(sample.label)
    mask[2:4, 3:5, 2:4] = mask[-3:, 5, 3] = 1
    far = ndimage.binary_dilation(mask, np.ones((3, 3, 3)), iterations=10) == 0
    assert far.any()
    inputs = np.concatenate([model.as_unit(sample.image), one_hot(mask, model.info.classes)])
    made = {
        "pathological": model.synthesize(sample, mask, generator(0)).image,
        "healthy": model.heal(replace(sample, label=mask)).image,
    }
    for name, drawn in made.items():
        whole = model.from_unit(model.apply(name, inputs))
        assert np.allclose(drawn[:, mask > 0], whole[:, mask > 0], atol=1e-5)
        assert np.abs(drawn - sample.image)[:, mask > 0].max() > 0.1
        assert np.array_equal(drawn[:, far], sample.image[:, far])
        assert not np.allclose(whole[:, far], sample.image[:, far], atol=0.01)
    nothing = model.synthesize(sample, np.zeros_like(mask), generator(0))
    assert np.array_equal(nothing.image, sample.image)


def test_the_change_outside_is_measured_in_the_head_beside_the_mask():
    before = np.full((2, 8, 8), -1, np.float32)
    before[:, 1:7, 1:7] = 0.5
    mask = np.zeros((8, 8), np.int16)
    mask[3, 3] = 1
    drawn = before.copy()
    drawn[:, 3, 3] = drawn[:, 0, 0] = 1
    assert changed_outside(drawn, before, mask) == 0
    drawn[0, 2, 2] += 0.7
    assert changed_outside(drawn, before, mask) == pytest.approx(0.7 / 2 / 35)
    assert changed_outside(drawn, before, np.ones_like(mask)) == 0


@BOTH
def test_what_the_generator_changes_outside_is_measured_before_blending(spatial_dims, cohorts):
    """By hand: all voxels of the head outside the mask, in slices that were drawn."""
    cohort = cohorts[spatial_dims]
    model = untrained_healer("mask_cyclegan", cohort, spatial_dims=2)
    scan = with_region(load_scan(cohort.cases[0], cohort.channels))
    sample = model.info.preprocessing.forward(scan)
    mask = ball_mask(scan.spatial_shape, [n // 2 for n in scan.spatial_shape], 3)
    shares = []
    for blend in ("lesion", "full"):
        drawing = draw_into(model, scan, sample, mask, generator(0), blend=blend)
        shares.append(drawing.changed_outside)
    change = np.abs(model.synthesize(sample, mask, generator(0)).image - sample.image)[0] / 2
    beside = (sample.image[0] > -0.9) & (mask == 0)
    if spatial_dims == 3:
        beside &= mask.any((0, 1))
    assert shares[0] == shares[1] == pytest.approx(float(change[beside].mean()), rel=0.1)
    assert draw_into(exact(cohort), scan, sample, mask, generator(0), blend="full").changed_outside < 0.01


@BOTH
def test_records_and_the_run_say_what_was_changed_outside(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    model, masks = untrained_healer("mask_cyclegan", cohort), MaskBank(cohort)
    result = synthesize(model, cohort, masks, tmp_path / "out", n=3)
    files = [tmp_path / "out" / "provenance" / f"{case.case_id}.json" for case in result.cohort]
    records = [json.loads(file.read_text()) for file in files]
    assert all(record["changed_outside"] > 0 for record in records)
    assert result.changed_outside == pytest.approx(np.mean([record["changed_outside"] for record in records]))
    for file, record in zip(files[1:], records[1:], strict=True):
        del record["changed_outside"]
        file.write_text(json.dumps(record))
    again = synthesize(model, cohort, masks, tmp_path / "out", n=3)
    assert len(again.cohort) == 3, "records of earlier versions do not say it"
    assert again.changed_outside == pytest.approx(records[0]["changed_outside"])


@BOTH
def test_what_healing_changes_outside_is_measured_before_blending(spatial_dims, cohorts, tmp_path):
    """By hand: all voxels of the head outside the label, in slices that were healed."""
    cohort = cohorts[spatial_dims]
    model = untrained_healer("mask_cyclegan", cohort, spatial_dims=2)
    results = {b: heal_cohort(model, cohort, out=tmp_path / b, blend=b) for b in ("lesion", "full")}
    shares = []
    for case, sample in zip(cohort, read_samples(cohort, model.info.preprocessing), strict=True):
        records = [
            json.loads((tmp_path / blend / "provenance" / f"{case.case_id}.json").read_text()) for blend in results
        ]
        if not sample.label.any():
            assert all("changed_outside" not in record for record in records), "nothing was drawn"
            continue
        change = np.abs(model.heal(sample).image - sample.image)[0] / 2
        beside = (sample.image[0] > -0.9) & (sample.label == 0) & sample.label.any((0, 1))
        shares.append(records[0]["changed_outside"])
        assert shares[-1] == records[1]["changed_outside"] == pytest.approx(float(change[beside].mean()), rel=0.1)
    assert results["lesion"].changed_outside == results["full"].changed_outside == pytest.approx(np.mean(shares))
    unchanged = heal_cohort(exact(cohort), cohort, out=tmp_path / "exact")
    assert unchanged.changed_outside < 0.01


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_cases_drawn_after_healing_say_what_the_healer_changed(spatial_dims, cohorts, tmp_path):
    """The same as healing alone says, beside what drawing changed; what finds lesions by itself says nothing."""
    cohort = cohorts[spatial_dims].with_lesions()
    healer, masks = untrained_healer("mask_cyclegan", cohort), MaskBank(cohort)
    drawn = synthesize(healer, cohort, masks, tmp_path / "drawn", n=len(cohort), healer=healer)
    healed = heal_cohort(healer, cohort, out=tmp_path / "healed", blend="lesion")
    assert len(drawn.cohort)
    shares = []
    for case in drawn.cohort:
        record, alone = (
            json.loads((tmp_path / folder / "provenance" / f"{name}.json").read_text())
            for folder, name in (("drawn", case.case_id), ("healed", case.source_case))
        )
        for place in ("outside", "inside"):
            assert record[f"healer_changed_{place}"] == pytest.approx(alone[f"changed_{place}"], abs=1e-6)
        assert record["changed_outside"] != record["healer_changed_outside"]
        shares.append(record["healer_changed_outside"])
    assert drawn.healer_changed_outside == pytest.approx(np.mean(shares))
    assert not healed.problems
    finder = untrained_healer("pseudo_healthy", cohort)
    other = synthesize(healer, cohort, masks, tmp_path / "other", n=len(cohort), healer=finder)
    assert other.healer_changed_outside is None
    assert not any("healer_changed" in file.read_text() for file in (tmp_path / "other" / "provenance").iterdir())


def test_healers_that_find_the_lesions_themselves_have_no_outside(cohorts, tmp_path):
    cohort = cohorts[2]
    result = heal_cohort(untrained_healer("pseudo_healthy", cohort), cohort, out=tmp_path / "out")
    assert result.changed_outside is None
    assert not any("changed_outside" in file.read_text() for file in (tmp_path / "out" / "provenance").iterdir())


def test_healed_scans_of_earlier_versions_do_not_say_it(cohorts, tmp_path):
    cohort = cohorts[2].with_lesions()
    model = untrained_healer("mask_cyclegan", cohort)
    heal_cohort(model, cohort, out=tmp_path / "out")
    kept, *others = sorted((tmp_path / "out" / "provenance").iterdir())
    for file in others:
        record = json.loads(file.read_text())
        del record["changed_outside"]
        file.write_text(json.dumps(record))
    again = heal_cohort(model, cohort, out=tmp_path / "out")
    assert not again.problems
    assert again.changed_outside == json.loads(kept.read_text())["changed_outside"]


def fit(cohort, out, spatial_dims, **options):
    config = healer_options("mask_cyclegan", spatial_dims, **{"optimiser": {"n_critic": 1}, **options})
    return MaskCycleGAN.fit(cohort, channels=cohort.channels, config=config, training=tiny_training(steps=1), out=out)


@BOTH
def test_training_needs_scans_with_masks_and_lesion_free_ones(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1, n_unknown=1)
    for part, what in ((cohort.with_lesions(), "lesion-free"), (cohort.healthy(), "no case with a lesion")):
        with pytest.raises(CohortError, match=what) as caught:
            fit(part, tmp_path / what, 2)
        assert "\n" not in str(caught.value)
    if spatial_dims == 3:
        with pytest.raises(ConfigError, match="cohort of slices"):
            fit(cohort, tmp_path / "slices", 3)


def test_lesions_without_masks_are_not_trained_on(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1)
    bare = replace(cohort.cases[0], label=None)
    model = fit(cohort.with_cases([bare, *cohort.cases[1:]]), tmp_path / "m", 2)
    assert model.info.training_cases == ("case_001", "case_002", "case_003")


@BOTH
def test_scans_smaller_than_a_window_odd_windows_and_thick_slices_are_trained_on_and_drawn(spatial_dims, tmp_path):
    """The items are larger than the scans along one axis, smaller than a lesion, and no side can be halved twice."""
    shape, roi_size = ((24, 19), (17, 22)) if spatial_dims == 2 else ((26, 24, 9), (17, 16, 18))
    more = {"n_subjects": 3, "n_healthy": 1, "anatomy": True}
    affine = None if spatial_dims == 2 else np.diag([1.0, 1.0, 5.0, 1.0])
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, shape=shape, affine=affine, **more)
    model = fit(cohort, tmp_path / "m", spatial_dims, roi_size=roi_size)
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", n=2)
    assert len(result.cohort) == 2
    healed = heal_cohort(model, cohort, out=tmp_path / "healed")
    assert not healed.problems


def test_training_scans_know_the_inner_part_of_their_brain(cohorts):
    preprocessing = Preprocessing(spatial_dims=3, channels=cohorts[3].channels)
    inner = cached_samples(cohorts[3], preprocessing, prepare=partial(MaskCycleGAN.training_scan, options=None))
    for sample, whole in zip(inner, read_samples(cohorts[3]), strict=True):
        assert sample.region.any()
        assert np.count_nonzero(sample.region) < np.count_nonzero(whole.region)
        assert not (sample.region & ~whole.region).any()
