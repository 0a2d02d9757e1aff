"""Scans on one grid over the MNI152 template."""
