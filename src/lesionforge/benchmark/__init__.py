"""Arms × fractions × seeds, and the report."""
