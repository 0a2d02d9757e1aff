"""What a plan takes."""
