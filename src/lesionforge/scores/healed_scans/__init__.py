"""Scores of healed scans, whose lesions were removed."""
