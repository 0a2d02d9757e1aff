"""The audit of a synthetic cohort: copies, membership, and what is real in it."""
