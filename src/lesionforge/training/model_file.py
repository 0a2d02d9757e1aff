"""Where a model folder says what it is; without torch, so that a wrong folder is told at once."""

from pathlib import Path

from lesionforge.errors import ModelError


def model_file(folder: Path) -> Path:
    """Return the path of a model folder's ``model.json``.

    Raises:
        ModelError: if there is none.
    """
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(folder, "is not a finished model folder (no model.json)", "train it to its end")
    return path
