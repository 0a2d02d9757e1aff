"""Intervals and tests over subjects and training seeds."""
