"""The brain of a scan, and its tissues."""
