"""How like real cases a synthetic cohort is."""
