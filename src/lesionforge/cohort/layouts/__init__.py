"""Cohorts on disk: one module per layout; :data:`LAYOUTS` holds the readers, and cohorts are written in nnU-Net's."""

from collections.abc import Callable

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.cases_csv import write_cases_csv
from lesionforge.cohort.layouts.dataset_json import write_dataset_json
from lesionforge.cohort.layouts.folders import read_folders
from lesionforge.cohort.layouts.mask_folder import read_masks
from lesionforge.cohort.layouts.nnunet import WriteReport, case_files, read_nnunet, write_nnunet
from lesionforge.cohort.layouts.slice_table import read_slices

LAYOUTS: dict[str, Callable[..., Cohort]] = {"nnunet": read_nnunet, "slices": read_slices, "folders": read_folders}
"""Layout name, as in ``lesionforge import --layout``, → its reader."""

read_cohort = read_nnunet
"""Read a cohort folder: nnU-Net's raw layout with ``cases.csv``."""

__all__ = [
    "LAYOUTS",
    "WriteReport",
    "case_files",
    "read_cohort",
    "read_folders",
    "read_masks",
    "read_nnunet",
    "read_slices",
    "write_cases_csv",
    "write_dataset_json",
    "write_nnunet",
]
