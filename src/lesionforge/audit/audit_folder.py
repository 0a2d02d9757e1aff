"""The folder of an audit: a page for people, tables, and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.cohort_audit import Audit
from lesionforge.audit.copy_sheet import copy_sheet
from lesionforge.audit.membership import COLUMNS
from lesionforge.audit.wording import Section
from lesionforge.cohort.layouts.cases_csv import write_problems
from lesionforge.errors import ConfigError
from lesionforge.files import atomic, claim_output, one_at_a_time, write_json, write_text
from lesionforge.markup import markdown
from lesionforge.reading import read_frame
from lesionforge.training.model_folder import add_to_card

PAGE, SUMMARY, ATTACKS, PICTURE = "audit.md", "audit.json", "attacks.csv", "copies.png"


@one_at_a_time
def write_audit(audit: Audit, *, out: Path, config: AuditConfig | None = None) -> None:
    """Write ``audit.md``, ``audit.json``, a CSV per table and ``copies.png``.

    Args:
        audit: the result of an audit.
        out: a new folder.
        config: options of the audit.

    Raises:
        OutputError: if ``out`` holds anything.
    """
    config = config or AuditConfig()
    claim_output(out)
    tables = {
        "origin.csv": audit.origin,
        "copies.csv": audit.copies,
        "duplicates.csv": audit.duplicates,
        ATTACKS: audit.attacks,
        "membership.csv": audit.membership,
        "without_generator.csv": audit.without_generator,
        "planted.csv": audit.planted,
    }
    for name, table in tables.items():
        write_text(out / name, table.to_csv(index=False))
    if len(audit.copies):
        figure = copy_sheet(audit.copies, audit.synthetic, audit.training, shown=config.shown)
        with atomic(out / PICTURE) as temporary:
            figure.savefig(temporary, dpi=130, format="png", facecolor="white")
    write_problems(out / "problems.csv", audit.problems)
    write_text(out / PAGE, page(audit, tables))
    write_json(out / SUMMARY, {"copies_found": audit.copies_found, "sections": as_json(audit.sections)})


def write_card(audit: Audit, model: Path) -> None:
    """Add the main findings to a model's ``model_card.md``, in place of those of an earlier audit of the same cohort.

    Raises:
        OutputError: if another process works in the model's folder.
    """
    parts = [f"## Audit of {markdown(audit.synthetic.name)}"]
    for section in audit.sections:
        parts += [f"### {section.title}", _findings(section.main, section.cannot)]
    add_to_card(model, "\n\n".join(parts) + "\n")


def as_json(sections: Sequence[Section]) -> list[dict[str, object]]:
    """Return the sections for a JSON file."""
    return [asdict(section) for section in sections]


def page(audit: Audit, tables: Iterable[str]) -> str:
    """Return the page in Markdown."""
    parts = [f"# Audit of {markdown(audit.synthetic.name)}"]
    for section in audit.sections:
        parts += [f"## {section.title}", _findings(section.lines, section.cannot)]
    if len(audit.copies):
        caption = "The cases most like a training case, each beside that case. Cases that a record explains come last."
        parts += ["## Pictures", caption, f"![Synthetic cases beside their nearest training case]({PICTURE})"]
    parts.append(f"Tables: {', '.join(f'`{name}`' for name in tables)}.")
    return "\n\n".join(parts) + "\n"


def _findings(lines: Sequence[str], cannot: str) -> str:
    """Return findings as a list, and below it what they cannot show."""
    listed = "\n".join(f"- {markdown(line)}" for line in lines)
    return f"{listed}\n\n*What this cannot show:* {markdown(cannot)}"


def read_attacks(folder: Path) -> pd.DataFrame:
    """Read the membership scores of an earlier audit.

    Raises:
        ConfigError: if the folder holds none.
    """
    path = folder / ATTACKS
    if not path.is_file():
        raise ConfigError(folder, f"holds no {ATTACKS}", "name the folder of an audit")
    table = read_frame(path, dtype={"attack": str, "subject_id": str}, keep_default_na=False)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ConfigError(path, f"lacks the columns {', '.join(missing)}", "make the audit again")
    return table
