"""Model folders: weights as safetensors, everything else as JSON, and a model card for people."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.errors import ModelError
from lesionforge.files import alone_in, write_bytes, write_json, write_text
from lesionforge.markup import markdown
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.training.model_file import model_file

CANDIDATES = "candidates"
CRITIC = "critic.safetensors"
"""The critic that a generator was trained against; only the audit of what a generator remembers needs it."""
REMEDY = "copy the model folder again, or use the version of lesionforge that wrote it"
PACKAGES = ("lesionforge", "torch", "monai", "lightning", "numpy")


class ModelInfo(BaseModel):
    """Content of ``model.json``: everything in a model folder except the weights.

    Attributes:
        method: name of the method in its registry.
        config: the method's own options.
        preprocessing: preprocessing that the model expects.
        labels: lesion class name → integer.
        anatomy: values of the anatomy maps it was trained with; empty if it uses none.
        training_cases: case_ids of the training cases.
        training_subjects: subjects whom the training cases show or descend from.
        data: SHA-256 of the training cases' ids, images, labels and anatomy maps.
        training: number of steps, batch size, accumulated batches, seed and precision of the run.
        versions: package name → version used for training.
        revision: git commit of the checkout that lesionforge ran from; empty for an installed package.
        simulated: whether every training case was simulated.
        schema_version: version of this file format.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    config: dict[str, Any]
    preprocessing: Preprocessing
    labels: dict[str, int]
    anatomy: tuple[int, ...] = ()
    training_cases: tuple[str, ...]
    training_subjects: tuple[str, ...]
    data: str = ""
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    revision: str = ""
    simulated: bool = False
    schema_version: Literal[1] = 1

    def descending_from(self, other: ModelInfo) -> ModelInfo:
        """Return this info with the training cases and subjects of ``other`` added.

        Use it for a model whose training started from the weights of ``other``.
        """
        cases = tuple(dict.fromkeys((*other.training_cases, *self.training_cases)))
        subjects = tuple(sorted({*other.training_subjects, *self.training_subjects}))
        return self.model_copy(
            update={
                "training_cases": cases,
                "training_subjects": subjects,
                "simulated": self.simulated and other.simulated,
            }
        )

    @property
    def classes(self) -> tuple[int, ...]:
        """Integers of the lesion classes, without the background."""
        return tuple(sorted(value for value in self.labels.values() if value != 0))


def save_model(folder: Path, info: ModelInfo, tensors: dict[str, Tensor]) -> None:
    """Write ``model.safetensors``, ``model_card.md`` and finally ``model.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / "model.safetensors", tensors)
    write_text(folder / "model_card.md", model_card(info))
    write_json(folder / "model.json", info.model_dump(mode="json"))


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically."""
    write_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the tensors' names, shapes and values; the device does not matter."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(repr((name, tuple(values.shape), str(values.dtype))).encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_info(folder: Path) -> ModelInfo:
    """Read ``model.json`` of a model folder.

    Raises:
        ModelError: if ``folder`` is not a model folder or its ``model.json`` has another format.
    """
    path = model_file(folder)
    try:
        return ModelInfo.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(path, f"cannot be read ({_first(error)})", REMEDY) from error


def _first(error: Exception) -> str:
    """Return the first problem with its location."""
    if not isinstance(error, ValidationError):
        return str(error).partition("\n")[0]
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def list_candidates(folder: Path) -> tuple[str, ...]:
    """Return the names of the candidates in a model folder, in the order of their epochs or steps."""
    names = [path.stem for path in (folder / CANDIDATES).glob("[!.]*.safetensors")]
    return tuple(sorted(names, key=lambda name: (len(name), name)))


def _is_sound(tensor: Tensor, *, gaps: bool) -> bool:
    return not tensor.is_complex() and bool((tensor.isfinite() | (tensor.isnan() & gaps)).all())


def read_tensors(folder: Path, *, candidate: str | None = None, with_gaps: Collection[str] = ()) -> dict[str, Tensor]:
    """Read ``model.safetensors``, or the weights of a candidate.

    Args:
        folder: the model folder.
        candidate: name of the candidate, if any.
        with_gaps: names of tensors that may contain NaN for unknown values.

    Raises:
        ModelError: if the file does not exist, is damaged, or contains complex, infinite or unexpected NaN values.
    """
    path = folder / "model.safetensors"
    if candidate is not None:
        kept = list_candidates(folder)
        if candidate not in kept:
            known = f"choose from {', '.join(kept)}" if kept else "train it with, for example, candidates=[10,50]"
            raise ModelError(folder, f"has no candidate {candidate}", known)
        path = folder / CANDIDATES / f"{candidate}.safetensors"
    return _read_file(path, with_gaps)


def read_critic(folder: Path) -> dict[str, Tensor]:
    """Read ``critic.safetensors``.

    Raises:
        ModelError: if the file does not exist, is damaged, or contains complex, infinite or NaN values.
    """
    return _read_file(folder / CRITIC, ())


def _read_file(path: Path, with_gaps: Collection[str]) -> dict[str, Tensor]:
    remedy = "copy the model folder again, or train the model again"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(path, f"cannot be read ({error})", remedy) from error
    bad = [name for name, tensor in tensors.items() if not _is_sound(tensor, gaps=name in with_gaps)]
    if bad:
        what = f"holds {len(bad)} tensors that are complex, NaN or infinite, first {bad[0]}"
        raise ModelError(path, what, remedy)
    return tensors


@contextmanager
def must_fit(folder: Path) -> Iterator[None]:
    """Report errors within the block, which builds a model from ``folder``, as a ``ModelError``.

    Raises:
        ModelError: if the weights and ``model.json`` do not match.
    """
    try:
        yield
    except ValidationError as error:
        raise ModelError(folder / "model.json", f"cannot be read ({_first(error)})", REMEDY) from error
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(folder, "model.safetensors does not fit model.json", REMEDY) from error


def describe(method: str, config: BaseModel, preprocessing: Preprocessing, cohort: Cohort, **more: Any) -> ModelInfo:
    """Return the ``ModelInfo`` of a method that is fitted on ``cohort``.

    Args:
        method: name of the method.
        config: options of the method.
        preprocessing: preprocessing of the model.
        cohort: training cases.
        more: further fields of :class:`ModelInfo`.
    """
    return ModelInfo(
        method=method,
        config=config.model_dump(mode="json"),
        preprocessing=preprocessing,
        labels=dict(cohort.labels),
        training_cases=tuple(case.case_id for case in cohort),
        training_subjects=tuple(sorted(cohort.ancestry)),
        data=digest_of(cohort),
        versions={name: version(name) for name in PACKAGES},
        revision=git_revision(),
        simulated=all(case.origin != "real" for case in cohort),
        **more,
    )


def add_to_card(folder: Path, section: str) -> None:
    """Add a section to the end of ``model_card.md``, in place of an earlier one with the same heading.

    Sections that were added are in the order of their headings, whichever came first.

    Args:
        folder: the model folder, in which no other process may be at work.
        section: Markdown that begins with a heading of the second level.

    Raises:
        OutputError: if another process works in the folder.
    """
    path = folder / "model_card.md"
    with alone_in(folder):
        card = path.read_text(encoding="utf-8") if path.is_file() else model_card(read_info(folder))
        before, *added = re.split(r"\n(?=## )", card)
        sections = {_heading(one): one for one in (*added, section)}
        write_text(path, "\n".join([before, *(sections[heading] for heading in sorted(sections))]))


def _heading(section: str) -> str:
    return section.partition("\n")[0]


def git_revision() -> str:
    """Return the git commit of the checkout that contains this package; empty if there is no checkout."""
    root = Path(__file__).parents[3]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return ""
    found = subprocess.run([git, "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return found.stdout.strip()


def model_card(info: ModelInfo) -> str:
    """Return the text of ``model_card.md``: what the model is, its training data, and what it must not be used for."""
    kind = "simulated" if info.simulated else "real"
    rows = {
        "Method": info.method,
        "Channels": ", ".join(info.preprocessing.channels),
        "Lesion classes": ", ".join(name for name, value in info.labels.items() if value != 0),
        "Dimensions": f"{info.preprocessing.spatial_dims}D",
        "Spacing": "as in each scan" if info.preprocessing.spacing is None else f"{info.preprocessing.spacing} mm",
        "Fitted on": f"{len(info.training_cases)} {kind} cases of {len(info.training_subjects)} subjects",
        "Options": ", ".join(f"{key}={value}" for key, value in info.config.items()),
        "Training": ", ".join(f"{key}={value}" for key, value in info.training.items()) or "none needed",
        "Versions": ", ".join(f"{key} {value}" for key, value in info.versions.items()),
    }
    table = "\n".join(f"| {name} | {markdown(text)} |" for name, text in rows.items())
    return (
        f"# Model card: {markdown(info.method)}\n\n| | |\n|---|---|\n{table}\n\n"
        "Its images are for training and testing image analysis, not for diagnosis. The subjects it was fitted on "
        "(listed in `model.json`) are parents of every case it draws: test on other subjects. A generator may "
        "reproduce parts of its training scans: `lesionforge audit` looks for copies.\n"
    )
