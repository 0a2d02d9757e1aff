"""Benchmarks: train arms at several training-set sizes and seeds, and write a report."""
