"""Cohorts on disk: drawn, healed, matched and selected."""
