"""Scores of drawn images, by which one of several generators is chosen."""
