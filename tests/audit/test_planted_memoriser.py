"""What the audit finds in ten generators that remember, and in real scans."""

import numpy as np
import pytest

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.cohort_audit import audit_cohort
from tests.audit.memoriser import people, synthetic_cohort

CONFIG = AuditConfig(encoder={"steps": 100})
SEEDS, REPLAYED, DRAWN = 10, 5, 200


@pytest.mark.slow
def test_five_replayed_lesions_among_200_cases_are_found_in_ten_of_ten_seeds(tmp_path):
    alarms, areas = [], []
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        training = people(folder, "train", 40, seed=1000 + seed)
        control = people(folder, "held", 40, seed=2000 + seed)
        drawn = synthetic_cohort(folder, DRAWN, seed=3000 + seed, training=training, replayed=REPLAYED)
        result = audit_cohort(drawn, training, control, config=CONFIG, seed=seed)
        copies = set(result.copies.loc[result.copies["copy"], "case_id"])
        replayed = {case.case_id for case in drawn.cases[:REPLAYED]}
        assert replayed <= copies, f"seed {seed}"
        alarms.append(len(copies - replayed) / (DRAWN - REPLAYED))
        areas.append(result.without_generator["auc"].mean())
    assert np.mean(alarms) <= 0.05
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
