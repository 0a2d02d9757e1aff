"""The pages that are made from the code are current, and leave nothing out."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

import lesionforge
from lesionforge.healers.registry import HEALERS
from lesionforge.synthesizers.registry import SYNTHESIZERS

DOCS = Path(__file__).parents[1] / "docs"
spec = spec_from_file_location("make_pages", DOCS / "make_pages.py")
make_pages = module_from_spec(spec)
spec.loader.exec_module(make_pages)


@pytest.mark.parametrize("name", make_pages.PAGES)
def test_a_page_is_current(name):
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == make_pages.PAGES[name](), "run: python docs/make_pages.py"


def test_every_option_is_documented():
    assert make_pages.undocumented(make_pages.options_page()) == []


def test_every_method_and_its_options_are_on_the_page():
    page = make_pages.options_page()
    for methods in (SYNTHESIZERS, HEALERS):
        for name in methods.own:
            section = page.split(f"### `{name}`\n")[1].split("\n#")[0]
            assert [option for option in methods[name].Config.model_fields if f"| `{option}` |" not in section] == []


class Parent(BaseModel):
    """Options.

    Attributes:
        told: of the parent, over
            two lines.
        again: of the parent.
    """

    told: int = Field(default=1, ge=0)
    again: Literal["a", "b"] = "a"


class Child(Parent):
    """Options.

    Attributes:
        again: of the child.
    """

    silent: tuple[float, ...] | None = None


def test_a_class_says_the_last_word_and_what_is_undocumented_is_found(monkeypatch):
    monkeypatch.setattr(Parent, "__module__", "lesionforge.parent")
    monkeypatch.setattr(Child, "__module__", "lesionforge.child")
    (table,) = make_pages.option_table(Child, {})
    assert "| `told` | integer, ≥ 0 | `1` | of the parent, over two lines. |" in table
    assert "| `again` | `a` or `b` | `a` | of the child. |" in table
    assert "| `silent` | list of number or none | `none` |  |" in table
    assert make_pages.undocumented(f"### `child`\n\n{table}") == ["`child`: silent"]


def test_every_public_name_says_what_it_is_for():
    sections = make_pages.api_page().split("\n## ")[1:]
    assert [section.split("`")[1] for section in sections] == [name for name in lesionforge.__all__ if name[0] != "_"]
    for section in sections:
        assert section.strip().splitlines()[-1].endswith((".", "`")), section
