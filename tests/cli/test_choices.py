"""What the command line offers is what the dictionaries hold."""

from typing import get_args

import pytest

from lesionforge.benchmark.plan_file import PRESETS
from lesionforge.cli.models import BlendChoice, ByChoice, ConditionChoice
from lesionforge.cohort.layouts import LAYOUTS
from lesionforge.healers.registry import HEALERS
from lesionforge.masks.registry import MASK_SOURCES
from lesionforge.production.blend import Blend
from lesionforge.production.keep_best import By
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.synthesizers.translation.conditions import ConditionName
from tests.cli.commands import typed


@pytest.mark.parametrize(
    ("choice", "known"),
    [
        (ByChoice, get_args(By)),
        (BlendChoice, get_args(Blend)),
        (ConditionChoice, get_args(ConditionName)),
    ],
)
def test_every_choice_is_offered(choice, known):
    assert {value.value for value in choice} == set(known)


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("import", LAYOUTS),
        ("train", [*SYNTHESIZERS, *HEALERS, "maskgan"]),
        ("synthesize", MASK_SOURCES),
        ("benchmark", PRESETS),
    ],
)
def test_the_help_names_them_all(command, names):
    shown = typed(command, "--help").output
    assert [name for name in names if name not in shown] == []
