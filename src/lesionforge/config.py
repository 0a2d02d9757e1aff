"""Options that a user writes, on the command line or in a file, checked: an unknown one is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lesionforge.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def parse_options(model: type[Model], options: Mapping[str, Any]) -> Model:
    """Return ``options`` as a ``model``.

    Raises:
        ConfigError: naming the first option that is unknown or out of range.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"])) or model.__name__
        known = ", ".join(model.model_fields)
        raise ConfigError(option, first["msg"].lower(), f"the options are {known}") from error
