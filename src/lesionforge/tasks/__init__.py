"""Downstream tasks that a benchmark trains and scores."""
