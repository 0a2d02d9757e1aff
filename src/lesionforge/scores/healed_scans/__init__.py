"""Scores of scans whose lesions were removed."""
