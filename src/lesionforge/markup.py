"""Text from others in Markdown files."""

import re

SPECIAL = re.compile(r"[\\`*|\[\]#~]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that mean something in Markdown; an underscore within a word does not."""


def markdown(text: str) -> str:
    """Return a text that shows as it is in Markdown: one line, no emphasis, link, table cell or HTML."""
    line = " ".join(text.split("\n")).replace("\r", " ")
    escaped = SPECIAL.sub(lambda match: f"\\{match[0]}", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
