"""The audit of a synthesizer's offline cases, with the development and test subjects of the plan as control."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lesionforge.audit.audit_folder import ATTACKS, SUMMARY, as_json, read_attacks, write_audit, write_card
from lesionforge.audit.cohort_audit import audit_cohort
from lesionforge.audit.membership import over_folds
from lesionforge.audit.white_box import has_white_box
from lesionforge.audit.wording import not_audited, on_folds
from lesionforge.benchmark.arms.repeats import Repeat
from lesionforge.cohort.layouts import read_cohort
from lesionforge.errors import LesionforgeError
from lesionforge.files import building, write_json


def audit_offline(repeat: Repeat, name: str) -> str:
    """Audit the offline cases of a synthesizer and add the findings to its model card.

    An audit that the cases do not allow, such as one of too few, says so in its findings and stops no other job.
    """
    plan, study = repeat.plan.synthesizers[name], repeat.study
    with building(repeat.audit_folder(name)) as unfinished:
        try:
            audit = audit_cohort(
                read_cohort(repeat.cohort_folder(name)),
                repeat.train,
                study.test.with_cases([*study.development, *study.test]),
                channels=study.channels,
                config=plan.audit,
                model=_attacked(repeat, name),
                seed=repeat.seed,
                device=repeat.plan.training.device,
            )
        except LesionforgeError as error:
            write_json(unfinished / SUMMARY, {"copies_found": None, "sections": as_json([not_audited(error)])})
            return f"{name}, {repeat}: not audited: {error}"
        write_audit(audit, out=unfinished, config=plan.audit)
        write_card(audit, repeat.model_folder(name))
    return f"{name}, {repeat}: {audit.copies_found} copies among {len(audit.synthetic)} synthetic cases"


def _attacked(repeat: Repeat, name: str) -> Path | None:
    """Return the model folder for white-box attacks; ``None`` if there is none on its method.

    There is none either if a candidate was selected: the folder's critic is that of the last training step.
    """
    if repeat.plan.synthesizers[name].selection is not None:
        return None
    model = repeat.model_folder(name)
    return model if has_white_box(model) else None


def audit_over_folds(audits: Iterable[Path], out: Path) -> None:
    """Write what the audits of a synthesizer in all folds say together; nothing if fewer than two judged membership.

    Args:
        audits: folders of the audits, one for each fold.
        out: folder of the result.
    """
    runs = [read_attacks(folder) for folder in audits if (folder / ATTACKS).is_file()]
    if len(runs) > 1:
        write_json(out / SUMMARY, {"sections": as_json([on_folds(over_folds(runs))])})
