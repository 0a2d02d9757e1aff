"""Small folders of real and drawn cases; drawn ones are copies that say what they were drawn from."""

import json
from dataclasses import replace

from lesionforge.cohort.layouts import read_cohort, write_nnunet
from tests.helpers import tiny_cohort

SMALL = {2: (16, 16), 3: (10, 12, 8)}


def real_cohort(folder, *, spatial_dims=2, n_subjects=6, **options):
    tiny_cohort(folder, spatial_dims=spatial_dims, n_subjects=n_subjects, shape=SMALL[spatial_dims], **options)
    return read_cohort(folder)


def drawn_cohort(folder, real, *, per_case=1, parents=(), mask_of=lambda case: case.case_id):
    """Write cases as if drawn into each case with a label, by a model that saw the subjects of ``parents``."""
    cases = [
        replace(
            case,
            case_id=f"{case.case_id}_s{number:02d}",
            origin="synthetic",
            source_case=case.case_id,
            mask_id=mask_of(case),
            synthesizer="copy_paste",
            seed=0,
            parents=tuple(sorted({case.subject_id, *parents})),
        )
        for case in real.annotated()
        for number in range(per_case)
    ]
    write_nnunet(real.with_cases(cases), folder)
    return read_cohort(folder)


def splits_of(folder):
    return json.loads((folder / "splits_final.json").read_text())


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
