"""Generators that translate a condition into an image."""
