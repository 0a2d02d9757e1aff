"""The library names options, the command line flags."""

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import lesionforge
from lesionforge.cli import app
from lesionforge.cli.spoken import OPTION, spoken
from tests.cli.commands import error, typed

ROOT = Path(lesionforge.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if "cli" not in path.relative_to(ROOT).parts]


def messages(path):
    """Return the texts of a file but for its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def flags(command):
    """Return the flags of a command and of those below it."""
    below = getattr(command, "commands", {}).values()
    return {flag for parameter in command.params for flag in parameter.opts}.union(*map(flags, below))


def test_no_message_of_the_library_speaks_of_flags():
    found = {str(path): [text for text in messages(path) if re.search(r"--[a-z]", text)] for path in FILES}
    assert {path: texts for path, texts in found.items() if texts} == {}


def test_every_option_that_a_message_names_is_a_flag_of_a_command():
    known = flags(get_command(app))
    named = {name for path in FILES for text in messages(path) for name, _ in OPTION.findall(text)}
    assert len(named) > 20
    assert {name for name in named if f"--{name.replace('_', '-')}" not in known} == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("use `blend=full`", "use --blend full"),
        ("`min_volume`: nan is no volume", "--min-volume: nan is no volume"),
        ("name each class, `label=NAME=4`", "name each class, --label NAME=4"),
        ("see `lesionforge check`", "see `lesionforge check`"),
    ],
)
def test_an_option_becomes_a_flag_where_commands_are_typed(text, said):
    assert spoken(text) == said


def test_an_error_reaches_the_terminal_with_its_flag(slices, tmp_path):
    model = tmp_path / "model"
    typed("train", "copy_paste", slices, "--out", model)
    message = error("synthesize", model, slices, "--out", tmp_path / "o", "--masks", "bank", "--min-volume", "nan")
    assert message.startswith("error: --min-volume: nan is no volume")
