"""Cohorts on disk: drawn, healed, selected."""
