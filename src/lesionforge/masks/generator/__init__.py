"""Lesion masks from a generator."""
