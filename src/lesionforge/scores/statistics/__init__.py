"""Confidence intervals and tests over subjects and training seeds."""
