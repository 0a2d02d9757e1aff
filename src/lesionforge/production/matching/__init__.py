"""Lesion-free scans made like those of another set."""
