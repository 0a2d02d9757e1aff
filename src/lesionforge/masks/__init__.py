"""Mask sources: where lesions go and what shape they have."""
