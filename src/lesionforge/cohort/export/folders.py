"""Export as a folder per case, with a file for each channel, as ``import --layout folders`` reads it."""

from pathlib import Path

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.export.base import LAYOUT, CaseFiles, Exporter, safe_names, written_files
from lesionforge.cohort.layouts.folders import CASES, EXPORTED
from lesionforge.cohort.layouts.labels import consecutive
from lesionforge.files import clear, write_json


class FoldersExporter(Exporter):
    """``CASE/CHANNEL.nii.gz``, ``CASE/lesion.nii.gz`` and, where there is one, ``CASE/anatomy.nii.gz``."""

    method = "folders"

    @staticmethod
    def arrange(cohort: Cohort, folder: Path, *, name: str) -> dict[str, CaseFiles]:
        """Move the files of each case into a folder of its own; ``folders.json`` names channels and classes."""
        stems = safe_names(cohort.channels, taken=("lesion", "anatomy"))
        names = {channel: f"{stem}{cohort.cases[0].file_ending}" for channel, stem in stems.items()}
        arranged = {}
        for case in cohort:
            place = folder / CASES / case.case_id
            place.mkdir(parents=True)
            files, ending = written_files(case, cohort, folder), case.file_ending
            images = tuple(place / names[channel] for channel in cohort.channels)
            for source, target in zip(files.images, images, strict=True):
                source.rename(target)
            label = None if files.label is None else files.label.rename(place / f"lesion{ending}")
            if case.anatomy is not None:
                case.anatomy.rename(place / f"anatomy{ending}")
            arranged[case.case_id] = CaseFiles(images=images, label=label)
        channels = [{"name": channel, "file": name} for channel, name in names.items()]
        write_json(folder / EXPORTED, {"channels": channels, "labels": consecutive(cohort.labels)})
        clear(folder, (*LAYOUT, "dataset.json"))
        return arranged
