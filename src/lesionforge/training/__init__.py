"""The training loop that synthesizers, mask generators and tasks share."""
