"""Detection of small lesions: candidates by radial symmetry, sorted by a classifier."""
