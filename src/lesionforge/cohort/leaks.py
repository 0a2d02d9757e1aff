"""The leak guard: no test subject, and nobody behind a simulated one, may have taken part in what training sees."""

from collections.abc import Collection, Mapping

from lesionforge.cohort.case import Case, Cohort
from lesionforge.errors import LeakError

REMEDY = "leave it out of training, or the subject out of testing"


def check_no_leak(train: Cohort, test: Cohort, *, models: Mapping[str, Collection[str]] | None = None) -> None:
    """Refuse a test set with a subject that is anybody's parent.

    A training case knows the subjects of its scan and of its mask, and every subject that its synthesizer and its
    mask source were fitted on. Its ``parents`` hold them all; ``models`` says which belong to which model, also for
    models that draw during training and leave no case behind.

    Args:
        train: the cases that are trained on.
        test: the cases that are scored; none may be drawn from others.
        models: ``"synthesizer"``, ``"mask source"`` or another name → the subjects it was fitted on.

    Raises:
        LeakError: naming the case or model, the subject, and the way: scan, mask, synthesizer or mask source.
    """
    fitted = models or {}
    subjects = frozenset(test.subjects).union(*(case.ancestry for case in test if not case.derived))
    for name, model_subjects in fitted.items():
        for subject in sorted(subjects.intersection(model_subjects)):
            raise LeakError(name, f"was fitted on the test subject {subject}", "fit it on training subjects only")
    subject_of = {case.case_id: case.subject_id for case in (*train, *test)}
    for case in train:
        ways = _ways(case, subject_of)
        for subject in sorted(subjects.intersection(ways)):
            raise LeakError(
                case.case_id, f"has the test subject {subject} as a parent through its {ways[subject]}", REMEDY
            )
    for case in test:
        if case.derived:
            what = f"was drawn by {case.synthesizer or 'a synthesizer'} and stands among the test cases"
            raise LeakError(case.case_id, what, "test on scans that were not drawn from others")


def _ways(case: Case, subject_of: Mapping[str, str]) -> dict[str, str]:
    """Return subject → how the case knows it, as far as its provenance says."""
    drawer = f" {case.synthesizer}" if case.synthesizer else ""
    ways = dict.fromkeys(case.parents, f"synthesizer{drawer} or mask source, which were fitted on it")
    mask_case = case.mask_id.split("+")[0]
    ways |= dict.fromkeys((mask_case, subject_of.get(mask_case, "")), f"mask {case.mask_id}")
    ways |= dict.fromkeys((case.subject_id, subject_of.get(case.source_case, "")), "scan")
    return ways
