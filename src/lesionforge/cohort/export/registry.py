"""The formats that cohorts are exported to, by name. A new one is a line here, or an entry point of another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionforge.registry import Registry

if TYPE_CHECKING:
    from lesionforge.cohort.export.base import Exporter

EXPORTERS: Registry[Exporter] = Registry(
    "a format",
    {
        "nnunet": "lesionforge.cohort.export.nnunet:NnUNetExporter",
        "msd": "lesionforge.cohort.export.msd:MSDExporter",
        "bids": "lesionforge.cohort.export.bids:BIDSExporter",
        "dicom": "lesionforge.cohort.export.dicom:DicomExporter",
        "folders": "lesionforge.cohort.export.folders:FoldersExporter",
    },
    group="lesionforge.exporters",
)
"""Format, as in ``lesionforge export --as``, → class."""
