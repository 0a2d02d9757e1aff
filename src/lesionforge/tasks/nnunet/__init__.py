"""nnU-Net as the judge of a benchmark: it plans itself, and is trained for as many steps as every other arm."""
