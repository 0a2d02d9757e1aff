"""Export as a raw dataset of nnU-Net v2, under a name that nnU-Net finds."""

import re
from pathlib import Path

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.export.base import CaseFiles, Exporter, written_files
from lesionforge.errors import ConfigError

NAME = re.compile(r"Dataset(\d{3})_\w[\w-]*", re.ASCII)


class NnUNetExporter(Exporter):
    """A raw dataset of nnU-Net v2."""

    method = "nnunet"

    @classmethod
    def check(cls, cohort: Cohort, out: Path) -> None:
        """Refuse a name without a number, or with the number of another dataset beside it: nnU-Net refuses both."""
        super().check(cohort, out)
        match, others = NAME.fullmatch(out.resolve().name), _numbers(out.resolve())
        if match is not None and int(match[1]) not in others:
            return
        free = next(number for number in range(1, len(others) + 2) if number not in others)
        word = re.sub(r"\W|^Dataset\d*_?", "", out.resolve().name, flags=re.ASCII) or "Cohort"
        what = f"has the number of {others[int(match[1])]}" if match else "is no name that nnU-Net finds"
        raise ConfigError(out, what, f"name it, for example, Dataset{free:03d}_{word}")

    @staticmethod
    def arrange(cohort: Cohort, folder: Path, *, name: str) -> dict[str, CaseFiles]:
        """Leave all as it is."""
        return {case.case_id: written_files(case, cohort, folder) for case in cohort}


def _numbers(place: Path) -> dict[int, str]:
    """Return number → name of the other datasets beside a folder."""
    beside = place.parent.iterdir() if place.parent.is_dir() else ()
    found = ((NAME.fullmatch(path.name), path) for path in beside if path != place and path.is_dir())
    return {int(match[1]): path.name for match, path in found if match}
