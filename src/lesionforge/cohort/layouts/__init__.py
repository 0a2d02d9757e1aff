"""Cohorts on disk: one module per layout; :data:`LAYOUTS` names them, and cohorts are written in nnU-Net's.

The names are loaded when they are first used, so :mod:`lesionforge.cohort.layouts.registry` is quick to read.
"""

from typing import TYPE_CHECKING

from lesionforge.lazy import load_when_used

if TYPE_CHECKING:
    from lesionforge.cohort.layouts.base import Layout
    from lesionforge.cohort.layouts.folders import read_folders
    from lesionforge.cohort.layouts.mask_folder import read_masks
    from lesionforge.cohort.layouts.nnunet import WriteReport, case_files, preview_nnunet, read_cohort, write_nnunet
    from lesionforge.cohort.layouts.registry import LAYOUTS
    from lesionforge.cohort.layouts.slice_table import read_slices

_HOMES = {
    "LAYOUTS": "cohort.layouts.registry",
    "Layout": "cohort.layouts.base",
    "WriteReport": "cohort.layouts.nnunet",
    "case_files": "cohort.layouts.nnunet",
    "preview_nnunet": "cohort.layouts.nnunet",
    "read_cohort": "cohort.layouts.nnunet",
    "read_folders": "cohort.layouts.folders",
    "read_masks": "cohort.layouts.mask_folder",
    "read_slices": "cohort.layouts.slice_table",
    "write_nnunet": "cohort.layouts.nnunet",
}

__all__ = [
    "LAYOUTS",
    "Layout",
    "WriteReport",
    "case_files",
    "preview_nnunet",
    "read_cohort",
    "read_folders",
    "read_masks",
    "read_slices",
    "write_nnunet",
]

__getattr__ = load_when_used(__name__, _HOMES)
