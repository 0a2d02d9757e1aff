"""Options that a user writes, on the command line or in a file, checked: an unknown one is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lesionforge.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


class MethodConfig(BaseModel):
    """Options of a method; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_options(model: type[Model], options: Mapping[str, Any], *, file: Path | None = None) -> Model:
    """Return ``options`` as a ``model``.

    Args:
        model: what the options are of.
        options: as the user wrote them.
        file: where the user wrote them, if in a file.

    Raises:
        ConfigError: naming the first option that is unknown or out of range.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        too_short = first["type"] == "missing" and isinstance(first["loc"][-1], int)
        option = ".".join(map(str, first["loc"][:-1] if too_short else first["loc"]))
        where = ": ".join(filter(None, (str(file or ""), option))) or model.__name__
        what = first["msg"].removeprefix("Value error, ")
        remedy = "correct it"
        if too_short:
            what = "has too few values"
        elif first["type"] in ("extra_forbidden", "missing"):
            known = ", ".join(_fields(model, first["loc"][:-1]))
            what = "is no option" if first["type"] == "extra_forbidden" else "is missing"
            remedy = f"the options are {known}"
        raise ConfigError(where, f"{what[0].lower()}{what[1:]}", remedy) from error


def _fields(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    """Return the options at a place inside ``model``, as far as it can be followed."""
    kinds = list(path)
    while kinds and kinds[0] in model.model_fields:
        inner = _models(model.model_fields[str(kinds.pop(0))].annotation)
        if not inner:
            break
        model = inner[0]
        if kinds and kinds[0] not in model.model_fields:
            kinds.pop(0)
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
