"""Plan files: finding, reading and changing them, without interpreting their content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lesionforge.errors import ConfigError
from lesionforge.reading import read_yaml

PRESETS = {path.stem: path for path in sorted((Path(__file__).parents[1] / "presets").glob("*.yaml"))}
"""Preset name → its file."""


def preset(name: str) -> Path:
    """Return the file of a preset, or ``name`` as a path if there is no preset of that name."""
    return PRESETS.get(name, Path(name))


def plan_content(path: Path, *, scale: str | None = None, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of a plan file of either kind, with the changes of one of its scales, then ``changes``.

    Raises:
        ConfigError: if the file is missing or is not YAML, or the scale does not exist.
    """
    if not path.is_file():
        raise ConfigError(path, "there is no such plan", f"name a YAML file, or a preset: {', '.join(PRESETS)}")
    content = read_yaml(path, fault=ConfigError)
    if not isinstance(content, dict):
        raise ConfigError(path, "is not a plan", "write `arms:` and `baseline:`, or `methods:`")
    if scale is not None:
        scales = content.get("scales") or {}
        if scale not in scales:
            known = ", ".join(scales) or "none"
            raise ConfigError(path, f"has no scale {scale!r}", f"its scales are: {known}")
        content = merged(content, scales[scale] or {})
    return merged(content, changes or {})


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` merged into it recursively; ``None`` removes an entry."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return {key: value for key, value in result.items() if value is not None or key not in changes}
