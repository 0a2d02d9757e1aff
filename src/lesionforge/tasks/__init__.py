"""What the data is for."""
