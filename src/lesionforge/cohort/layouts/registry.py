"""The layouts by name. A new one is a line here, or an entry point of another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionforge.registry import Registry

if TYPE_CHECKING:
    from lesionforge.cohort.layouts.base import Layout

LAYOUTS: Registry[Layout] = Registry(
    "a layout",
    {
        "nnunet": "lesionforge.cohort.layouts.nnunet:NnUNet",
        "bids": "lesionforge.cohort.layouts.bids:Bids",
        "msd": "lesionforge.cohort.layouts.decathlon:Decathlon",
        "brats": "lesionforge.cohort.layouts.brats:Brats",
        "dicom": "lesionforge.cohort.layouts.dicom:Dicom",
        "slices": "lesionforge.cohort.layouts.slice_table:SliceTable",
        "folders": "lesionforge.cohort.layouts.folders:Folders",
    },
    group="lesionforge.layouts",
)
"""Layout name, as in ``lesionforge import --layout``, → class."""
