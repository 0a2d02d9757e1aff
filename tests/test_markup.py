import pytest
from rich.console import Console
from rich.markdown import Markdown

from lesionforge.markup import markdown

NAMES = [
    "T1 | T2",
    "<script>alert(1)</script>",
    "<b>bold</b>",
    "[click](http://x)",
    "![x](http://y)",
    "*T1* and **T2**",
    "_T1_ __T2__",
    "`code`",
    "# title",
    "~~gone~~",
    "a & b &lt;",
    "back\\slash",
    "T1_w_0000",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name):
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(Markdown(f"- {markdown(name)}"))
    assert capture.get().strip() == f"• {name}"


@pytest.mark.parametrize("name", NAMES)
def test_no_html_and_no_table_cell_is_left(name):
    text = markdown(f"{name}\n# next")
    assert "\n" not in text
    assert "<" not in text
    assert "|" not in text.replace("\\|", "")


def test_a_plain_name_stays():
    assert markdown("T1_w, DWI-b1000 (FLAIR)") == "T1_w, DWI-b1000 (FLAIR)"
