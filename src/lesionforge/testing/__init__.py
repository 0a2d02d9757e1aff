"""Checks that test whether a method follows the rules of lesionforge, for use in any test suite.

Each check creates a tiny simulated cohort, fits the method on it, and raises ``AssertionError`` with a sentence that
names the broken rule::

    from lesionforge.testing import check_synthesizer

    def test_my_method():
        check_synthesizer(MyMethod)
"""

from lesionforge.testing.healer_rules import check_healer
from lesionforge.testing.mask_source_rules import check_mask_source
from lesionforge.testing.synthesizer_rules import check_synthesizer
from lesionforge.testing.task_rules import check_task
from lesionforge.testing.tiny_cohort import tiny_cohort

__all__ = ["check_healer", "check_mask_source", "check_synthesizer", "check_task", "tiny_cohort"]
