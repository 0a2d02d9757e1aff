"""Every rule is caught: methods that break one of them, and the sentence that says which."""

import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.config import parse_options
from lesionforge.errors import CohortError, ConfigError
from lesionforge.healers.base import Healed, healing_cohort
from lesionforge.healers.baselines import HealingGAN
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.mask import DrawnMask, PlacedMask
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.training_free.carvemix import CarveMix
from lesionforge.synthesizers.training_free.copy_paste import CopyPaste
from lesionforge.synthesizers.training_free.transformed_copy import TransformedCopy
from lesionforge.testing import check_healer, check_mask_source, check_synthesizer
from lesionforge.training.items.samples import measured_cases
from lesionforge.training.loop import claim_run
from lesionforge.training.model_folder import describe
from lesionforge.training.rng import torch_seed
from tests.testing.test_own_methods import small

COUNTER = itertools.count()


class Broken(CopyPaste):
    """Draws correctly; each of its kinds breaks one rule."""

    method = "broken"

    def draw(self, sample, mask, rng):
        return super().synthesize(sample, mask, rng)

    synthesize = draw


class BesideTheMask(Broken):
    def synthesize(self, sample, mask, rng):
        drawn = self.draw(sample, mask, rng)
        return replace(drawn, image=drawn.image + np.float32(1e-3))


class OtherLabel(Broken):
    def synthesize(self, sample, mask, rng):
        drawn = self.draw(sample, mask, rng)
        return replace(drawn, label=np.where(np.roll(mask, 1, 0) > 0, mask.max(), sample.label).astype(np.int16))


class NoLabel(Broken):
    def synthesize(self, sample, mask, rng):
        return replace(self.draw(sample, mask, rng), label=None)


class DrawsNothing(Broken):
    """Says that it drew the mask, and left the image as it was."""

    def synthesize(self, sample, mask, rng):
        return sample.with_lesion(sample.image, mask)


class OwnRandomness(Broken):
    def synthesize(self, sample, mask, rng):
        drawn = self.draw(sample, mask, rng)
        return drawn.with_lesion(np.where(mask > 0, np.float32(next(COUNTER)), drawn.image).astype(np.float32), mask)


class Remembers(Broken):
    """The first scan that a model draws into is drawn another way."""

    first = None

    def synthesize(self, sample, mask, rng):
        self.first = self.first or sample.case_id
        drawn = self.draw(sample, mask, rng)
        level = np.float32(0.5 if sample.case_id == self.first else 0.6)
        return drawn.with_lesion(np.where(mask > 0, level, drawn.image).astype(np.float32), mask)


class InWorkers(Broken):
    def synthesize(self, sample, mask, rng):
        drawn = self.draw(sample, mask, rng)
        level = np.float32(0.5 if os.environ.get("HERE") else 0.6)
        return drawn.with_lesion(np.where(mask > 0, level, drawn.image).astype(np.float32), mask)


class Unpicklable(Broken):
    def __init__(self, *args):
        super().__init__(*args)
        self.rule = lambda: None


class InPlace(Broken):
    def synthesize(self, sample, mask, rng):
        sample.image[:] = 0
        return self.draw(sample, mask, rng)


class Halved(Broken):
    def synthesize(self, sample, mask, rng):
        drawn = self.draw(sample, mask, rng)
        return replace(drawn, image=drawn.image.astype(np.float64))


class LosesLesions(Broken):
    @classmethod
    def from_tensors(cls, info, tensors):
        model = super().from_tensors(info, tensors)
        model.lesions = model.lesions[:1]
        return model


class DrawsOtherwiseWhenLoaded(Broken):
    loaded = False

    @classmethod
    def from_tensors(cls, info, tensors):
        model = super().from_tensors(info, tensors)
        model.loaded = True
        return model

    def synthesize(self, sample, mask, rng):
        drawn = self.draw(sample, mask, rng)
        return drawn.with_lesion(np.where(mask > 0, drawn.image + self.loaded, drawn.image).astype(np.float32), mask)


class NotSaved(Broken):
    @classmethod
    def fit(cls, cohort, *, out, **options):
        model = super().fit(cohort, out=out, **options)
        (out / "model.json").unlink()
        return model


class RecordsNobody(Broken):
    @classmethod
    def recorded(cls, info):
        return info.model_copy(update={"training_subjects": ()})

    @classmethod
    def fit(cls, cohort, **options):
        model = super().fit(cohort, **options)
        model.info = cls.recorded(model.info)
        model.save(options["out"])
        return model


class ForgetsParents(RecordsNobody):
    @classmethod
    def recorded(cls, info):
        return info.model_copy(update={"training_subjects": tuple(s for s in info.training_subjects if "sub" in s)})


class ForgetsSubjects(RecordsNobody):
    """Records the half of its training cases, and of their subjects."""

    @classmethod
    def recorded(cls, info):
        kept = {"training_cases": info.training_cases[:2], "training_subjects": ("ancestor", "sub_00", "sub_01")}
        return info.model_copy(update=kept)


class OtherName(RecordsNobody):
    @classmethod
    def recorded(cls, info):
        return info.model_copy(update={"method": "copy_paste"})


class FitsAtRandom(Broken):
    @classmethod
    def fit(cls, cohort, **options):
        model = super().fit(cohort, **options)
        model.lesions = model.lesions[next(COUNTER) % 2 :]
        model.save(options["out"])
        return model


class TakesAnything(Broken):
    """Fits on whatever there is, without a word."""

    @classmethod
    def fit(cls, cohort, *, config, **options):
        known = {name: value for name, value in config.items() if name in cls.Config.model_fields}
        return super().fit(cohort, config=known, **options)


class Crashes(Broken):
    @classmethod
    def fit(cls, cohort, *, channels, **options):
        _ = [case.images[channel] for case in cohort for channel in channels]
        return super().fit(cohort, channels=channels, **options)


class CrashesAtUnknownClasses(Broken):
    def synthesize(self, sample, mask, rng):
        _ = [self.info.classes.index(value) for value in np.unique(mask[mask > 0])]
        return self.draw(sample, mask, rng)


class TakesOtherDimensions(Broken):
    slice_by_slice = False

    def check_dimensions(self, spatial_dims):
        pass

    def synthesize(self, sample, mask, rng):
        return sample.with_lesion(np.where(mask > 0, 0, sample.image).astype(np.float32), mask)


class LabelElsewhere(CarveMix):
    method = "broken"

    def synthesize(self, sample, mask, rng):
        drawn = super().synthesize(sample, mask, rng)
        return replace(drawn, label=np.ones_like(drawn.label))


class UnknownClass(TransformedCopy):
    method = "broken"

    def synthesize(self, sample, mask, rng):
        drawn = super().synthesize(sample, mask, rng)
        return replace(drawn, label=np.where(drawn.label > 0, 9, 0).astype(np.int16))


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (BesideTheMask, "image changes more than margin_mm"),
        (OtherLabel, "label must be exact: the mask where"),
        (NoLabel, "must return a label on the sample's grid"),
        (DrawsNothing, "every case must be drawn with its whole label"),
        (OwnRandomness, "same seed, same bytes: drawn twice"),
        (Remembers, "must not depend on the cases drawn before"),
        (Unpicklable, "must be picklable"),
        (InPlace, "must not change the sample"),
        (Halved, "float32"),
        (LosesLesions, "the loaded model's tensors differ"),
        (DrawsOtherwiseWhenLoaded, "save and load: drawn by the loaded model"),
        (NotSaved, "must save a model folder"),
        (RecordsNobody, "training_subjects is empty"),
        (ForgetsParents, "training_subjects lacks ancestor"),
        (ForgetsSubjects, "learnt from somebody else"),
        (OtherName, "info.method is 'copy_paste', but the class's method is 'broken'"),
        (FitsAtRandom, "two fits with the same seed gave different models"),
        (TakesAnything, "unknown option must be refused"),
        (Crashes, "no file must raise a LesionforgeError, .* not KeyError"),
        (CrashesAtUnknownClasses, "class that the model does not know must raise a LesionforgeError"),
        (TakesOtherDimensions, "drawing into 3D scans must be refused"),
        (LabelElsewhere, "may change only where the image does"),
        (UnknownClass, "holds a class that the model does not know"),
    ],
)
def test_a_broken_synthesizer_is_caught(method, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_synthesizer(method, spatial_dims=(2,), workers=1)


def test_the_unbroken_ones_pass():
    check_synthesizer(Broken, spatial_dims=(2,), workers=1)
    check_healer(BrokenHealer, spatial_dims=(2,), options=small("healing_gan", 2))
    check_mask_source(BrokenMasks, spatial_dims=(2,))


@pytest.mark.slow
def test_another_drawing_in_workers_is_caught(monkeypatch):
    """A worker is handed the environment of its parent as it is when it starts."""
    monkeypatch.setenv("HERE", "")
    check_synthesizer(InWorkers, spatial_dims=(2,), workers=2)
    monkeypatch.setattr(os, "environ", {**os.environ, "HERE": "yes"})
    with pytest.raises(AssertionError, match="drawn by 2 workers, the files differ"):
        check_synthesizer(InWorkers, spatial_dims=(2,), workers=2)


class BrokenHealer(HealingGAN):
    """Heals correctly with networks as they are before training; each of its kinds breaks one rule."""

    method = "broken"

    @classmethod
    def fit(cls, cohort, *, channels, config, training, out, **options):
        config = parse_options(cls.Config, config)
        claim_run(out, resume=False)
        cases, facts = measured_cases(cls.trained_on(healing_cohort(cohort, channels)), channels)
        preprocessing = Preprocessing.fit(facts, spatial_dims=config.spatial_dims)
        info = describe(cls.method, config, preprocessing, cases)
        with torch_seed(0, "weights"):
            model = cls(info, cls.generators(info))
        model.save(out)
        return model

    @staticmethod
    def trained_on(cases):
        if not len(cases.healthy()) or not len(cases.with_lesions()):
            raise CohortError(cases.name, "has one kind of scans alone", "add others")
        return cases

    def healed(self, sample):
        return super().heal(sample)

    heal = healed


class ReadsTheLabel(BrokenHealer):
    def heal(self, sample):
        shown = 0 if sample.label is None else sample.label.max()
        return Healed(image=self.healed(sample).image + np.float32(shown))


class PromisesToReadTheLabel(BrokenHealer):
    reads_label = True


class HealsInPlace(BrokenHealer):
    def heal(self, sample):
        healed = self.healed(sample)
        sample.image[:] = healed.image
        return healed


class HealsAtRandom(BrokenHealer):
    def heal(self, sample):
        return Healed(image=self.healed(sample).image + np.float32(next(COUNTER)))


class PromisesLesions(BrokenHealer):
    finds_lesions = True


class PromisesReconstructions(BrokenHealer):
    reconstructs = True


class BadPathology(BrokenHealer):
    finds_lesions = True

    def heal(self, sample):
        image = self.healed(sample).image
        return Healed(image=image, pathology=2 * np.ones_like(image))


class SmallImage(BrokenHealer):
    def heal(self, sample):
        return Healed(image=self.healed(sample).image[:1])


class HealsWithoutHealthy(BrokenHealer):
    @staticmethod
    def trained_on(cases):
        if not len(cases.with_lesions()):
            raise CohortError(cases.name, "has no lesion", "add some")
        return cases


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (ReadsTheLabel, "must not read the label"),
        (PromisesToReadTheLabel, "healing without the label that reads_label announces must be refused"),
        (HealsInPlace, "must not change the sample"),
        (HealsAtRandom, "same scan, same bytes"),
        (PromisesLesions, "pathology if and only if finds_lesions"),
        (PromisesReconstructions, "reconstruction if and only if reconstructs"),
        (BadPathology, "from 0 to 1"),
        (SmallImage, "must return an image of shape"),
        (HealsWithoutHealthy, "fitting without lesion-free scans must be refused"),
    ],
)
def test_a_broken_healer_is_caught(method, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_healer(method, spatial_dims=(2,), options=small("healing_gan", 2))


class BrokenMasks(MaskBank):
    """Gives masks correctly; each of its kinds breaks one rule."""

    def edited(self, placed, mask):
        return PlacedMask(mask=mask, mask_id=placed.mask_id, subjects=placed.subjects, redraws=placed.redraws)


class Everywhere(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        return self.edited(placed, np.ones_like(placed.mask))


class OnLesions(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        return self.edited(placed, np.maximum(placed.mask, scan.label))


class OffGrid(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        return self.edited(placed, placed.mask[1:])


class Floats(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        return self.edited(placed, placed.mask.astype(float))


class Empty(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        return self.edited(placed, np.zeros_like(placed.mask))


class OtherClasses(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        return self.edited(placed, 9 * (placed.mask > 0).astype(np.int16))


class TooSmall(BrokenMasks):
    def sample(self, scan, rng, **limits):
        placed = super().sample(scan, rng, **limits)
        mask = np.zeros_like(placed.mask)
        first = tuple(np.argwhere(placed.mask > 0)[0])
        mask[first] = placed.mask[first]
        return self.edited(placed, mask)


class NeverGivesUp(BrokenMasks):
    def sample(self, scan, rng, **limits):
        return super().sample(scan, rng, **{**limits, "min_volume": min(limits["min_volume"], 100.0)})


class Anonymous(BrokenMasks):
    def __init__(self, cohort):
        super().__init__(cohort)
        self.subjects = frozenset()


class AtRandom(BrokenMasks):
    def draw(self, scan, rng):
        return super().draw(scan, np.random.default_rng(next(COUNTER)))


class ChangesTheScan(BrokenMasks):
    def draw(self, scan, rng):
        scan.label[:] = 0
        return super().draw(scan, rng)


class OneDigest(BrokenMasks):
    digest = "a bank"


class OtherDigest(BrokenMasks):
    @property
    def digest(self):
        return str(next(COUNTER))


class CrashesInOtherDimensions(BrokenMasks):
    def draw(self, scan, rng):
        lesion = self.lesions[rng.integers(len(self.lesions))]
        mask = lesion.mask + np.zeros([1] * scan.spatial_dims, np.int16)
        if mask.ndim != lesion.mask.ndim or scan.spatial_dims != lesion.mask.ndim:
            raise IndexError("too many axes")
        return DrawnMask(mask=mask, mask_id=lesion.mask_id, subjects=frozenset({lesion.subject}))


class NoPlace(BrokenMasks):
    def sample(self, scan, rng, **limits):
        if limits["min_volume"] > 1e6:
            raise ConfigError("masks", "do not fit", "use others")
        return super().sample(scan, rng, **limits)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (Everywhere, "inside the region"),
        (OnLesions, "on an existing lesion"),
        (OffGrid, "must lie on the scan's grid"),
        (Floats, "integer classes"),
        (Empty, "must not be empty"),
        (OtherClasses, "only classes of the cohort"),
        (TooSmall, "min_volume was 20"),
        (NeverGivesUp, "must raise a PlacementError$"),
        (NoPlace, "PlacementError, not ConfigError"),
        (Anonymous, "subjects must hold every subject"),
        (AtRandom, "the same generator gave another mask"),
        (ChangesTheScan, "must not change the scan"),
        (OneDigest, "have the same digest"),
        (OtherDigest, "has two digests"),
        (CrashesInOtherDimensions, "must work or raise a LesionforgeError, not IndexError"),
    ],
)
def test_a_broken_mask_source_is_caught(source, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_mask_source(source, spatial_dims=(2,))


def test_threads_stay_as_they_were():
    before = torch.get_num_threads()
    check_synthesizer("carvemix", spatial_dims=(2,), workers=1)
    assert torch.get_num_threads() == before
