"""Write what is made from the code, ``options.md``, ``api.md`` and a table: ``python docs/make_pages.py``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel

import lesionforge
from lesionforge.audit.audit_config import AuditConfig
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.plan import Plan
from lesionforge.evidence.comparisons import measured
from lesionforge.evidence.tables import comparison_table
from lesionforge.healers.registry import HEALERS
from lesionforge.masks.base import MaskSource
from lesionforge.masks.generator.maskgan import MaskGAN
from lesionforge.masks.generator.maskgan_training import MaskGANConfig
from lesionforge.masks.registry import MASK_SOURCES
from lesionforge.registry import Registry
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.tasks.registry import TASKS
from lesionforge.training.loop import TrainingConfig

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/make_pages.py from the code: change the docstrings, then run it. -->"
PLAIN = {
    int: "integer",
    float: "number",
    bool: "true or false",
    str: "text",
    NoneType: "none",
    Path: "path",
    Any: "any",
}
COMPARISONS = re.compile(r"(<!-- measured .*?-->\n).*?(<!-- end of measured)", re.DOTALL)
LIMITS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def options_page() -> str:
    """Return the page of every option of every method, mask source, task and plan."""
    groups: dict[str, type[BaseModel]] = {}
    methods = {name: SYNTHESIZERS[name].Config for name in SYNTHESIZERS.own}
    healers = {name: HEALERS[name].Config for name in HEALERS.own if name not in methods}
    sections = [
        "# Options",
        MADE,
        "An option of a method is set with `--set NAME=VALUE` on the command line, with `config={...}` in Python, and "
        "under `options:` in a plan.\n"
        "An option of a group is set with a dot, as in `--set optimiser.learning_rate=0.0001`; what is left out of a "
        "group keeps its default.",
        *_chapter("Methods that draw lesions", methods, groups),
        *_chapter("Methods that remove lesions", healers, groups),
        *_chapter("The mask generator", {"maskgan": MaskGANConfig}, groups),
        "## Mask sources",
        "On the command line `--masks` names one. Its options by name are set with `--mask-set NAME=VALUE` and, in a "
        "plan, under `mask_options:`; its arguments are set in Python.",
        *(part for name in MASK_SOURCES.own for part in _source_section(name, MASK_SOURCES[name])),
        *_chapter("Training", {"training": TrainingConfig}, groups),
        *_chapter("Tasks", {name: TASKS[name].Config for name in TASKS.own}, groups),
        *_chapter("The audit", {"audit": AuditConfig}, groups),
        *_chapter("Plans", {"plan": Plan, "plan of methods that remove lesions": HealingPlan}, groups),
        "## Groups of options",
        *_groups(groups),
    ]
    return "\n\n".join(sections) + "\n"


def api_page() -> str:
    """Return the page of the public names."""
    names = [name for name in lesionforge.__all__ if name != "__version__"]
    sections = ["# Public names", MADE, "All of these are imported from `lesionforge`."]
    for name in names:
        value = getattr(lesionforge, name)
        sections += [f"## `{name}`", *_described(name, value)]
    return "\n\n".join(sections) + "\n"


def evidence_page() -> str:
    """Return the page of all comparisons, with its table made anew."""
    page = (DOCS / "results" / "evidence.md").read_text(encoding="utf-8")
    return COMPARISONS.sub(lambda found: found[1] + comparison_table(measured()) + found[2], page)


def undocumented(page: str) -> list[str]:
    """Return the options that have no meaning on a page, as ``section: option``."""
    section, found = "", []
    for line in page.splitlines():
        section = line.lstrip("# ") if line.startswith("#") else section
        if re.match(r"\| `.*\|  \|$", line):
            found.append(f"{section}: {line.split('`')[1]}")
    return found


def documented(owner: type, sections: tuple[str, ...] = ("Attributes", "Args")) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say of each name; the class's own word counts."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("lesionforge"):
            found |= _entries(inspect.cleandoc(base.__doc__ or ""), sections)
    return found


def _entries(text: str, sections: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each entry in the named sections of a Google docstring."""
    inside = re.findall(rf"^(?:{'|'.join(sections)}):\n((?:    .*\n?|\n)+)", text, flags=re.MULTILINE)
    for name, told in re.findall(r"^    (\w+): ((?:.*\n?)(?:      +.*\n?)*)", "\n".join(inside), flags=re.MULTILINE):
        yield name, " ".join(told.split())


def _chapter(title: str, options: Mapping[str, type[BaseModel]], groups: dict[str, type[BaseModel]]) -> list[str]:
    """Return a chapter with a table of each class of options; groups that are met are added to ``groups``."""
    parts = [f"## {title}"]
    for name, config in options.items():
        parts += [f"### `{name}`" if " " not in name else f"### {name.capitalize()}", *option_table(config, groups)]
    return parts


def _groups(groups: dict[str, type[BaseModel]]) -> list[str]:
    parts: list[str] = []
    done: set[str] = set()
    while left := [name for name in groups if name not in done]:
        for name in left:
            parts += [f"### {name}", _first_paragraph(groups[name]), *option_table(groups[name], groups)]
            done.add(name)
    return parts


def option_table(config: type[BaseModel], groups: dict[str, type[BaseModel]]) -> list[str]:
    """Return a table of options, or a sentence where there is none."""
    meanings, rows = documented(config), ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name, field in config.model_fields.items():
        for group in _models(field.annotation):
            groups.setdefault(group.__name__, group)
        limits = _limits(field.metadata)
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        rows.append(_row(field.alias or name, _type(field.annotation) + limits, default, meanings.get(name, "")))
    return ["\n".join(rows)] if len(rows) > 2 else ["It has no options."]


def _row(name: str, kind: str, default: str, meaning: str) -> str:
    cells = (f"`{name}`", kind, default, _markdown(meaning))
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _source_section(name: str, source: type[MaskSource]) -> list[str]:
    """Return the section of a mask source: what it draws, and the arguments that make it."""
    if source is MaskGAN:
        return [f"### `{name}`", f"{_first_paragraph(source)} Its options are those of [`maskgan`](#maskgan)."]
    hints, meanings = get_type_hints(source.__init__, include_extras=True), documented(source, ("Args",))
    rows = ["| argument | type | default | meaning |", "|---|---|---|---|"]
    for key, parameter in list(inspect.signature(source).parameters.items()):
        if key in hints:
            default = "required" if parameter.default is parameter.empty else _default(parameter.default)
            rows.append(_row(key, _type(hints[key]), default, meanings.get(key, "")))
    table = ["\n".join(rows)] if len(rows) > 2 else ["It has no options."]
    if source.Config.model_fields:
        table += ["Options by name:", *option_table(source.Config, {})]
    return [f"### `{name}`: {source.__name__}", _first_paragraph(source), *table]


def _type(annotation: Any) -> str:
    """Return a type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0]) + _limits(arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in arguments))
    if origin is tuple:
        inner = [part for part in arguments if part is not Ellipsis]
        return f"list of {_type(inner[0])}" if Ellipsis in arguments else f"({', '.join(map(_type, inner))})"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{_type(arguments[0])} → {_type(arguments[1])}"
    if isinstance(origin, type) and origin is not None and issubclass(origin, Callable):  # type: ignore[arg-type]
        return "function"
    if isinstance(origin, type):
        return f"list of {_type(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limits(metadata: Any) -> str:
    limits = [f"{sign} {getattr(m, key):g}" for m in metadata for kind, key, sign in LIMITS if isinstance(m, kind)]
    limits += [f"at least {m.min_length}" for m in metadata if isinstance(m, MinLen)]
    return f", {', '.join(limits)}" if limits else ""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _default(value: Any) -> str:
    """Return a default; of a group, what differs from the group's own defaults."""
    if isinstance(value, BaseModel):
        plain = {name: field.default for name, field in type(value).model_fields.items()}
        return ", ".join(f"`{name}={_plain(x)}`" for name, x in value if x != plain[name]) or "its own"
    if inspect.isfunction(value):
        return "raises"
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{name}: {_plain(x)}" for name, x in value) + "}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _described(name: str, value: Any) -> list[str]:
    """Return how a public name is called and what it is for."""
    if isinstance(value, Registry):
        return [f"A dictionary: name → class of {value.kind}.", ", ".join(f"`{key}`" for key in value.own)]
    return [f"```python\n{_signature(name, value)}\n```", _first_paragraph(value)]


def _signature(name: str, value: Any) -> str:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return f"{name}(**options)"
    if isinstance(value, type) and issubclass(value, Exception | str):
        return name
    signature = inspect.signature(value)
    star, parts = False, []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star, parts = True, [*parts, "*"]
        parts.append(_parameter(parameter))
    back = "" if signature.return_annotation in (signature.empty, None, "None") else _hint(signature.return_annotation)
    line = f"{name}({', '.join(parts)}){back and f' -> {back}'}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(parts) + f",\n){back and f' -> {back}'}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = ("**" if parameter.kind is parameter.VAR_KEYWORD else "") + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_hint(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    default = parameter.default.__name__ if callable(parameter.default) else repr(parameter.default)
    return f"{text} = {default if '<' not in default else '...'}"


def _hint(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)


def _first_paragraph(value: Any) -> str:
    return _markdown(" ".join(inspect.cleandoc(value.__doc__ or "").split("\n\n")[0].split()))


def _markdown(text: str) -> str:
    """Return a docstring's markup as Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


PAGES = {"options.md": options_page, "api.md": api_page, "results/evidence.md": evidence_page}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
