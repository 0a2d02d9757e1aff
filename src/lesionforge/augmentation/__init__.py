"""Augmentation of training items."""
