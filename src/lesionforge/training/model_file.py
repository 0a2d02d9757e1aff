"""Location of ``model.json`` in a model folder; does not import torch, so a wrong folder is reported at once."""

from pathlib import Path

from lesionforge.errors import ModelError


def model_file(folder: Path) -> Path:
    """Return the path of a model folder's ``model.json``.

    Raises:
        ModelError: if it does not exist.
    """
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(folder, "is not a finished model folder (no model.json)", "finish its training")
    return path
