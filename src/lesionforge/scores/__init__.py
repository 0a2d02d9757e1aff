"""Numbers about masks and predictions, with their units, directions and statistics."""
