"""Small healers for tests."""

from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.registry import HEALERS
from lesionforge.training.model_folder import ModelInfo

SMALL = {"channels": (4, 8), "blocks": 1, "critic_channels": (4, 8), "width": 1.0}


def healer_options(method, spatial_dims, **options):
    """Options of networks that train in a second."""
    segmentor = {"segmentor_channels": (4, 8)} if method == "pseudo_healthy" else {}
    return {**SMALL, **segmentor, "spatial_dims": spatial_dims, "roi_size": (16,) * spatial_dims, **options}


def healer_info(method, spatial_dims, *, channels=("FLAIR",), labels=None, preprocessing=None, **options):
    """What ``model.json`` would say of an untrained healer."""
    config = HEALERS[method].Config(**healer_options(method, spatial_dims, **options))
    return ModelInfo(
        method=method,
        config=config.model_dump(mode="json"),
        preprocessing=preprocessing or Preprocessing(spatial_dims=spatial_dims, channels=tuple(channels)),
        labels=labels or {"background": 0, "lesion": 1},
        training_cases=("trained_on",),
        training_subjects=("somebody",),
    )
