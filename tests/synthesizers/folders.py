"""Looking into cohort folders."""

from pathlib import Path

from lesionforge.production.synthesize import synthesize_cohort


def contents(folder):
    """Return relative path → bytes of every file in a folder, hidden ones included."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def synthesize(model, cohort, masks, out, *, n=4, **options):
    """Synthesize small lesions."""
    return synthesize_cohort(model, cohort, masks, out=out, n=n, **{"min_volume": 20.0, **options})
