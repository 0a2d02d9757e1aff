"""Options that a user writes, on the command line or in a file, checked: an unknown one is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lesionforge.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
MOST_VOXELS = 2**29
"""Of a training item; more is beyond the memory of any machine."""


def _fits_into_memory(size: tuple[int, ...]) -> tuple[int, ...]:
    if prod(size) > MOST_VOXELS:
        raise ValueError(f"roi_size is {size}, which no memory holds")
    return size


def _no_distance_below_0(distance: float | tuple[float, float]) -> float | tuple[float, float]:
    low, high = distance if isinstance(distance, tuple) else (distance, distance)
    if not 0 <= low <= high:
        raise ValueError(f"{distance} is no distance: give millimetres, or the least and the greatest of them")
    return distance


Millimetres = Annotated[float, Field(ge=1e-4, le=1e4)]
"""Spacing along an axis."""
Distance = Annotated[float | tuple[float, float], AfterValidator(_no_distance_below_0)]
"""Millimetres, or the range from which they are drawn each time."""
RoiSize = Annotated[tuple[int, ...], AfterValidator(_fits_into_memory)]
"""Sides of a training item, in voxels."""
Strides = tuple[tuple[Annotated[int, Field(ge=1, le=4)], ...], ...]
"""Strides of each step of a network along each axis."""


def check_strides(strides: Strides, *, steps: int, spatial_dims: int) -> None:
    """Check that there is a stride for each step and axis.

    Raises:
        ValueError: if there is not.
    """
    if len(strides) != steps or any(len(step) != spatial_dims for step in strides):
        raise ValueError(f"strides is {strides}, but needs {steps} steps of {spatial_dims} numbers")


def check_sides(roi_size: Sequence[int], *, divisors: Sequence[int], least: int = 1) -> None:
    """Check the sides of a training item.

    Args:
        roi_size: the sides in voxels.
        divisors: number that each side must be a multiple of, one for each axis.
        least: the smallest side.

    Raises:
        ValueError: if a side does not fit, or their number.
    """
    fits = len(roi_size) == len(divisors)
    if not fits or any(n % divisor or n < least for n, divisor in zip(roi_size, divisors, strict=True)):
        multiple = divisors[0] if len(set(divisors)) == 1 else f"{', '.join(map(str, divisors))} in turn"
        each = "" if multiple == 1 else f"a multiple of {multiple} and "
        raise ValueError(f"roi_size is {roi_size}, but needs {len(divisors)} sides, each {each}{least} or more")


class Options(BaseModel):
    """Options; an unknown one is an error, and so is a number that is not finite.

    A group of options that is given in part is laid over the default of its place: what is left out keeps its value
    there, which need not be what the group has elsewhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults of the options that have one.

        Args:
            given: what the user wrote, for defaults that depend on it.
        """
        fields = cls.model_fields.items()
        return {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        return laid_over(cls.defaults(given), given) if isinstance(given, Mapping) else given


IntensityName = Literal["head", "percentile"]


class MethodConfig(Options):
    """Options of a method."""


class ScanConfig(MethodConfig):
    """Options of a method that takes scans.

    Attributes:
        intensity: which intensities of a scan become the ends of the method's range. ``head``: those of the head, with
            the lesions of the training cases in, and what lies beyond goes on linearly. ``percentile``: 0 and the
            99.5th percentile of all voxels, and what lies beyond is cut, as published. Where the preprocessing is
            given, as by a plan with arms, that of the preprocessing counts.
    """

    intensity: IntensityName = "head"


def laid_over(base: Any, given: Any) -> Any:
    """Return ``given`` with what it leaves out of ``base``, group by group; a group that is ``None`` is left out.

    Args:
        base: a model, a dictionary, or a value.
        given: what takes its place; completed only where both are groups.
    """
    if isinstance(base, BaseModel):
        if given is None:
            return base
        base = dict(base)
    if not (isinstance(base, dict) and isinstance(given, Mapping)):
        return given
    return {**base, **{name: laid_over(base.get(name), value) for name, value in given.items()}}


def parse_options(model: type[Model], options: Mapping[str, Any], *, file: Path | None = None) -> Model:
    """Return ``options`` as a ``model``.

    Args:
        model: what the options are of.
        options: as the user wrote them.
        file: where the user wrote them, if in a file.

    Raises:
        ConfigError: naming the first option that is unknown or out of range.

    Example:
        >>> from lesionforge.training.loop import TrainingConfig
        >>> parse_options(TrainingConfig, {"steps": 100}).steps
        100
        >>> parse_options(TrainingConfig, {"steps": 0})
        Traceback (most recent call last):
        lesionforge.errors.ConfigError: steps: input should be greater than or equal to 1; correct it
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
