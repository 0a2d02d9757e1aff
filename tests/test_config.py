from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rate: float = Field(default=0.1, gt=0)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    steps: int
    inner: Inner = Inner()
    many: dict[str, Inner] = {}
    size: tuple[int, int] | None = None

    @field_validator("steps")
    @classmethod
    def _even(cls, steps):
        if steps % 2:
            raise ValueError("Must be even")
        return steps


def test_good_options_become_the_model():
    parsed = parse_options(Outer, {"steps": 4, "inner": {"rate": 2}, "many": {"a": {"rate": 3}}})
    assert parsed == Outer(steps=4, inner=Inner(rate=2), many={"a": Inner(rate=3)})


@pytest.mark.parametrize(
    ("options", "where", "message"),
    [
        ({"steps": 2, "stepz": 4}, "stepz", "is no option; the options are steps, inner, many, size"),
        ({"steps": 2, "inner": {"rat": 1}}, "inner.rat", "is no option; the options are rate"),
        ({"steps": 2, "many": {"a": {"rat": 1}}}, "many.a.rat", "is no option; the options are rate"),
        ({}, "steps", "is missing; the options are"),
        ({"steps": 3}, "steps", "must be even; correct it"),
        ({"steps": 2, "inner": {"rate": -1}}, "inner.rate", "greater than 0"),
        ({"steps": "many"}, "steps", "valid integer"),
        ({"steps": 2, "size": [1]}, "size", "size: has too few values; correct it"),
    ],
)
@pytest.mark.parametrize("file", [None, Path("plan.yaml")])
def test_a_bad_option_is_named_in_one_line(options, where, message, file):
    with pytest.raises(ConfigError) as caught:
        parse_options(Outer, options, file=file)
    text = str(caught.value)
    assert text.startswith(f"plan.yaml: {where}" if file else where)
    assert message in text
    assert "\n" not in text
