"""Scores of how similar a synthetic cohort is to real cases."""
