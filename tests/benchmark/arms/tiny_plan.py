"""A plan of tiny arms with one synthesizer that needs no training."""

from collections.abc import Mapping
from typing import Any

from lesionforge.benchmark.plan import Plan
from lesionforge.config import parse_options


def tiny_plan(
    spatial_dims: int, *, arms: Mapping[str, Mapping[str, Any]], synthesizer: Mapping[str, Any], **changes: Any
) -> Plan:
    """Return a plan whose baseline is ``real``; ``arms`` use the synthesizer ``drawn``, without augmentation."""
    drawn = {"method": "injection", "options": {"spatial_dims": spatial_dims}, "masks": "bank", "min_volume": 20}
    roi_size = [32, 32] if spatial_dims == 2 else [16, 16, 16]
    plain = {"augment": "none"}
    return parse_options(
        Plan,
        {
            "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
            "task": {"spatial_dims": spatial_dims, "filters": [4, 8], "res_units": 0, "roi_size": roi_size},
            "training": {"steps": 1, "batch_size": 2, "device": "cpu", "preview_minutes": None},
            "seeds": [0],
            "synthesizers": {"drawn": {**drawn, **synthesizer}},
            "arms": {"real": plain, **{name: {**plain, "synthesizer": "drawn", **arm} for name, arm in arms.items()}},
            "baseline": "real",
            **changes,
        },
    )
