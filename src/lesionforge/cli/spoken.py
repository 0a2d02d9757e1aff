"""Messages of the library in the words of the command line."""

import re

OPTION = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
"""How a message of the library names an option, with or without a value."""


def spoken(text: str) -> str:
    """Return a message with its options as flags: ``use `blend=full``` becomes ``use --blend full``."""
    return OPTION.sub(_flag, text)


def _flag(option: re.Match[str]) -> str:
    name, value = option.groups()
    return f"--{name.replace('_', '-')}" + ("" if value is None else f" {value}")
