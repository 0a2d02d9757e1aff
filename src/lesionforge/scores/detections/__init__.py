"""Scores of detections: points with a confidence, compared with annotated lesions."""
