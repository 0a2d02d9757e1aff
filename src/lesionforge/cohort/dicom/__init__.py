"""DICOM: files and their headers, series as volumes, and masks from SEG and RTSTRUCT."""
