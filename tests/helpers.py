"""The simulated cohorts that tests are run on."""

from lesionforge.testing.tiny_cohort import (
    LESION,
    NESTED,
    SHAPES,
    simulate_image,
    simulate_label,
    tiny_cohort,
    write_array,
)

__all__ = ["LESION", "NESTED", "SHAPES", "simulate_image", "simulate_label", "tiny_cohort", "write_array"]
