"""Generators: networks that draw images or masks."""
