"""The one training loop that synthesizers, masks and tasks share."""
