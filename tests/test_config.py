import importlib
import pkgutil
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

import lesionforge
from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.plan import Plan
from lesionforge.config import Options, parse_options
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing


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


class Optimiser(Options):
    rate: float = 0.1
    beta: float = 0.5


class Part(Options):
    optimiser: Optimiser = Optimiser(rate=0.2)
    name: str = "part"


class Whole(Options):
    part: Part = Part(optimiser=Optimiser(rate=0.3, beta=0.9))
    many: dict[str, Part] = Field(default={})


def test_what_a_group_leaves_out_keeps_the_value_of_its_place():
    assert Part(optimiser={"beta": 0.7}).optimiser == Optimiser(rate=0.2, beta=0.7)
    assert Whole(part={"name": "a"}).part.optimiser == Optimiser(rate=0.3, beta=0.9)
    assert Whole(part={"optimiser": {"rate": 1}}).part.optimiser == Optimiser(rate=1, beta=0.9)
    assert Whole(many={"a": {"optimiser": {"beta": 0}}}).many["a"].optimiser == Optimiser(rate=0.2, beta=0)
    assert Whole(part=None) == Whole()
    assert Part(optimiser=Optimiser()).optimiser == Optimiser(), "a whole group is taken as it is"


REQUIRED = {
    Preprocessing: {"spatial_dims": 2, "channels": ("T1",)},
    Plan: {"arms": {"real": {}}, "baseline": "real"},
    SynthesizerPlan: {"method": "injection"},
    HealingPlan: {"methods": {"a": {"method": "healing_gan"}}},
}
"""What a class needs beside the group that is looked at."""


NEED_AN_EXTRA = ("lesionforge.production.nnunet.", "lesionforge.tasks.nnunet.run")


def places():
    """Every place of the package where a group of options has a default: class and field."""
    for module in pkgutil.walk_packages(lesionforge.__path__, "lesionforge."):
        if not module.name.startswith(NEED_AN_EXTRA):
            importlib.import_module(module.name)
    classes = [BaseModel]
    for one in classes:
        classes += [sub for sub in one.__subclasses__() if sub not in classes]
    for one in classes:
        if one.__module__.startswith("lesionforge."):
            for name, field in one.model_fields.items():
                if isinstance(field.get_default(call_default_factory=True), BaseModel):
                    yield pytest.param(one, name, id=f"{one.__name__}.{name}")


PLACES = list(places())


def test_the_walk_finds_the_places():
    found = {place.id for place in PLACES}
    assert {"MaskGANConfig.optimiser", "HealingConfig.optimiser", "FPrePlan.task", "Plan.training"} <= found
    assert {"SelectionConfig.segmentor", "HealingPlan.f_pre", "PseudoHealthyConfig.weights"} <= found


@pytest.mark.parametrize(("model", "name"), PLACES)
def test_one_option_of_a_group_leaves_the_others_as_they_are(model, name):
    field = model.model_fields[name]
    default, kind = field.get_default(call_default_factory=True), field.discriminator
    for option, value in default.model_dump().items():
        given = {option: value} | ({} if kind is None else {kind: getattr(default, kind)})
        made = model.model_validate({**REQUIRED.get(model, {}), name: given})
        assert getattr(made, name) == default, option
