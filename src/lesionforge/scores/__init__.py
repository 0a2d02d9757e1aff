"""Scores of masks, predictions and images, with their units, directions and statistics."""
