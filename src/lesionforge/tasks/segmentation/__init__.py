"""Segmentation: a network that finds the lesions."""
