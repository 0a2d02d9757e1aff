"""The folder of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel

from lesionforge.errors import OutputError
from lesionforge.files import claim_output, clear_leftovers, write_json, write_text
from lesionforge.reading import read_json


def claim_study(out: Path, plan: BaseModel, split: Mapping[str, Sequence[str]]) -> None:
    """Write the plan and the split into a new folder, or see that they are those of the run that is there.

    Args:
        out: the folder.
        plan: of the study.
        split: part → its case ids.

    Raises:
        OutputError: if ``out`` holds another plan, or this one on other cases.
    """
    plan_file, split_file = out / "plan.yaml", out / "split.json"
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False)
    if not plan_file.is_file():
        claim_output(out)
        write_text(plan_file, text)
    elif plan_file.read_text(encoding="utf-8") != text:
        raise OutputError(out, "holds the results of another plan", "name a new folder")
    if not split_file.is_file():
        write_json(split_file, split)
    elif read_json(split_file) != split:
        raise OutputError(out, "holds the results of this plan on other cases", "name a new folder")
    clear_leftovers(out)
