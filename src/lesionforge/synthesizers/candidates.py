"""The candidates of a run: the same generator, kept at several lengths of its training."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from lesionforge.errors import ModelError
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import find_method
from lesionforge.training.model_folder import must_fit, read_info

FOLDER, ENDING = "candidates", ".safetensors"


def candidate_digests(run: Path) -> dict[str, str]:
    """Return the names of a run's candidates, such as ``epoch_010``, in order, with the SHA-256 of their weights.

    Raises:
        ModelError: if it has none.
    """
    read_info(run)
    files = sorted((run / FOLDER).glob(f"*{ENDING}"), key=lambda path: (len(path.name), path.name))
    if not files:
        raise ModelError(run, "has no candidates to choose from", "train it so that it keeps some")
    return {path.name.removesuffix(ENDING): _digest(path) for path in files}


def load_candidate(run: Path, name: str) -> Synthesizer:
    """Load one candidate; only JSON and safetensors are read.

    Raises:
        ModelError: if it is damaged or does not belong to the run.
    """
    info, path = read_info(run), run / FOLDER / f"{name}{ENDING}"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(path, f"cannot be read ({error})", "copy the run again, or train it anew") from error
    with must_fit(run):
        return find_method(info.method).from_tensors(info, tensors)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
