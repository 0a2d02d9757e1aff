"""Segmentation task: a network that segments lesions."""
