"""What the arms of a benchmark are trained on, and for how long."""
