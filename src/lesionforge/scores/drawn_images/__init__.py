"""Scores of drawn images, used to choose among generators."""
