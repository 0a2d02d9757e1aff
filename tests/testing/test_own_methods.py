"""Every method of this package keeps the rules that it asks of others."""

import numpy as np
import pytest

from lesionforge.healers.registry import HEALERS
from lesionforge.masks import MaskGAN
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.given import GivenMasks
from lesionforge.masks.registry import MASK_SOURCES
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.testing import check_healer, check_mask_source, check_synthesizer
from tests.helpers import write_array
from tests.masks.generator.test_maskgan import fit
from tests.masks.mni import write_masks

TRANSLATOR = {"channels": (4, 8), "width": 1.0, "optimiser": {"ema_decay": 0.5}}
HEALER = {"channels": (4, 8), "blocks": 1, "critic_channels": (4, 8), "width": 1.0}
SMALL = {
    "pix2pix": TRANSLATOR,
    "spade": {**TRANSLATOR, "channels": (8, 4, 4), "latent": 16},
    "cyclegan": TRANSLATOR,
    "lesion_diffusion": {"channels": (4, 8), "sampling_steps": 2, "ema_decay": 0.5},
    "pseudo_healthy": {**HEALER, "segmentor_channels": (4, 8)},
    "healing_gan": HEALER,
    "healing_cyclegan": HEALER,
    "mask_cyclegan": HEALER,
}
"""Networks that train in a second."""


def small(method, spatial_dims):
    return {**SMALL[method], "roi_size": (24,) * spatial_dims} if method in SMALL else {}


QUICK = (("healing_gan", 2),)
"""Those that train and are tried each time; the others train by the same steps, and an example trains a ``pix2pix``."""


ALIKE = (("object_paste", 2), ("selfmix", 2), ("selfmix", 3))
"""Those that need no training, but share most of their code with ``object_paste`` in 3D."""


def each(methods):
    """Methods by dimensions; what trains for long is slow."""
    late = {(method, dims) for method in SMALL for dims in (2, 3)} - {*QUICK} | {*ALIKE}
    return [
        pytest.param(method, dims, marks=pytest.mark.slow if (method, dims) in late else ())
        for method in methods
        for dims in (2, 3)
    ]


@pytest.mark.parametrize(("method", "spatial_dims"), each(SYNTHESIZERS))
def test_a_synthesizer_keeps_the_rules(method, spatial_dims):
    check_synthesizer(method, spatial_dims=(spatial_dims,), options=small(method, spatial_dims), workers=1)


@pytest.mark.slow
@pytest.mark.parametrize("method", SYNTHESIZERS)
def test_workers_draw_the_same(method):
    check_synthesizer(method, spatial_dims=(2,), options=small(method, 2), workers=2)


@pytest.mark.parametrize(("method", "spatial_dims"), each(HEALERS))
def test_a_healer_keeps_the_rules(method, spatial_dims):
    check_healer(method, spatial_dims=(spatial_dims,), options=small(method, spatial_dims))


@pytest.mark.parametrize("name", ["bank", "edited", "interpolated", "semi_random", "own", "ellipsoids"])
def test_a_mask_source_keeps_the_rules(name):
    check_mask_source(name)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_given_masks_keep_the_rules(spatial_dims, tmp_path):
    """A file of a scan's own stays where it is; any other is put anywhere."""

    def make(cohort):
        ball = np.zeros((9,) * spatial_dims, np.uint8)
        ball[(slice(2, 7),) * spatial_dims] = 1
        for name in ("one", "two"):
            write_array(tmp_path / f"{name}{cohort.cases[0].file_ending}", ball, np.diag([2, 2, 2, 1]))
        return GivenMasks(tmp_path, cohort=cohort)

    check_mask_source(make, spatial_dims=(spatial_dims,))


@pytest.mark.slow
def test_a_mask_generator_keeps_the_rules(tmp_path):
    """It is trained once, on masks of its own, so the cohort makes no difference."""
    optimiser = {"learning_rate": 2e-3, "beta1": 0.0, "beta2": 0.9, "pool_size": 0, "n_critic": 2, "ema_decay": 0.9}
    training = {"steps": 120, "epoch_steps": 60, "batch_size": 8}
    masks = write_masks(tmp_path / "masks", 24)
    fit(masks, tmp_path / "model", config={"mirror": False, "optimiser": optimiser}, **training)
    check_mask_source(lambda cohort: MaskGAN.load(tmp_path / "model"), spatial_dims=(3,))
    check_mask_source(lambda cohort: EditedMasks(MaskGAN.load(tmp_path / "model")), spatial_dims=(3,))


def test_no_mask_source_is_forgotten():
    of_a_cohort = {"bank", "edited", "interpolated", "semi_random", "own", "ellipsoids"}
    assert set(MASK_SOURCES) == {*of_a_cohort, "files:DIR", "gan:MODEL"}
