"""A trained synthesizer as a MONAI bundle, which ``python -m monai.bundle run`` executes.

The bundle is a configuration that calls this package: it draws the same bytes as ``lesionforge synthesize``.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from lesionforge.files import building, write_json, write_text
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training.model_folder import model_card

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
INFERENCE: dict[str, Any] = {
    "imports": ["$from pathlib import Path"],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/cohort'",
    "output_dir": "$@bundle_root + '/eval'",
    "masks": "edited",
    "n": None,
    "blend": "lesion",
    "min_volume": None,
    "seed": 0,
    "device": "auto",
    "problems": "$[]",
    "dataset": {"_target_": "lesionforge.cohort.layouts.nnunet.read_cohort", "folder": "$Path(@dataset_dir)"},
    "network_def": {
        "_target_": "lesionforge.synthesizers.registry.load_synthesizer",
        "folder": "$Path(@bundle_root) / 'models'",
        "device": "@device",
    },
    "mask_source": {
        "_target_": "lesionforge.masks.registry.make_mask_source",
        "_disabled_": "$not @network_def.needs_mask",
        "spec": "@masks",
        "cohort": "@dataset",
        "on_problem": "$@problems.append",
        "device": "@device",
    },
    "evaluator": {
        "_target_": "lesionforge.production.synthesize.synthesize_cohort",
        "model": "@network_def",
        "cohort": "@dataset",
        "masks": "@mask_source",
        "out": "$Path(@output_dir)",
        "n": "@n",
        "blend": "@blend",
        "seed": "@seed",
        "min_volume": "@min_volume",
        "problems": "@problems",
    },
    "run": ["$@evaluator"],
}
"""The content of ``configs/inference.json``; the options have the defaults of ``lesionforge synthesize``."""


def write_bundle(model: Path, out: Path, *, candidate: str | None = None) -> None:
    """Write a trained synthesizer as a MONAI bundle.

    It holds ``configs/inference.json``, ``configs/metadata.json``, ``docs/README.md`` (the model card) and ``models/``,
    a model folder with weights as safetensors.

    Args:
        model: the model folder.
        out: a new folder.
        candidate: name of a generator that was kept during training; by default the final model.

    Raises:
        ModelError: if ``model`` is no synthesizer, or damaged, or the candidate does not exist.
        OutputError: if ``out`` holds something.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> from lesionforge import SYNTHESIZERS, TrainingConfig
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> fit = SYNTHESIZERS["copy_paste"].fit
        >>> _ = fit(cohort, channels=("FLAIR",), config={}, training=TrainingConfig(), out=Path("model"))
        >>> write_bundle(Path("model"), Path("bundle"))
        >>> sorted(path.name for path in Path("bundle").iterdir())
        ['configs', 'docs', 'models']
    """
    synthesizer = load_synthesizer(model, candidate=candidate, device="cpu")
    written = model / "model_card.md"
    card = written.read_text(encoding="utf-8") if written.is_file() else model_card(synthesizer.info)
    template = files("lesionforge.production").joinpath("bundle_usage.md").read_text(encoding="utf-8")
    usage = template.format(name=out.resolve().name, lesionforge=version("lesionforge"))
    with building(out) as unfinished:
        synthesizer.save(unfinished / "models")
        write_json(unfinished / "configs" / "inference.json", INFERENCE)
        write_json(unfinished / "configs" / "metadata.json", _metadata(synthesizer))
        write_text(unfinished / "docs" / "README.md", f"{card}\n{usage}")


def _metadata(synthesizer: Synthesizer) -> dict[str, Any]:
    """Return the content of ``configs/metadata.json``, as MONAI's schema asks for it."""
    info = synthesizer.info
    dims, channels = info.preprocessing.spatial_dims, info.preprocessing.channels
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": len(channels),
        "spatial_shape": ["*"] * dims,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(number): channel for number, channel in enumerate(channels)},
    }
    classes = {str(value): name for name, value in info.labels.items()}
    label = {**image, "type": "label", "format": "segmentation", "num_channels": 1, "channel_def": classes}
    card = "Draws lesions at masks into scans, for training and testing image analysis, not for diagnosis."
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by lesionforge"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"lesionforge": version("lesionforge")},
        "name": f"lesionforge {info.method}",
        "task": "Synthesis of labelled lesions",
        "description": card,
        "authors": "The users of lesionforge who trained it",
        "copyright": "That of its training data and its authors",
        "intended_use": card,
        "network_data_format": {
            "inputs": {"image": image, "mask": label},
            "outputs": {"image": image, "label": label},
        },
    }
