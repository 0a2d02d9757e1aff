"""What a cohort looks like: checks, doubts, the fingerprint, pictures."""
