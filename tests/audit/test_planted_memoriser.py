"""What the audit finds in ten generators that remember, and in real scans."""

import numpy as np
import pytest

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.cohort_audit import audit_cohort
from tests.audit.memoriser import people, replay_image, replay_lesion, synthetic_cohort

SEEDS, REPLAYED, DRAWN = 10, 5, 200
SLICES = {"spatial_dims": 2}
VOLUMES = {"spatial_dims": 3, "channels": ("FLAIR", "T1"), "shape": (24, 24, 12)}


@pytest.mark.slow
@pytest.mark.parametrize("replay", [replay_lesion, replay_image])
@pytest.mark.parametrize(("options", "side"), [(SLICES, 64), (VOLUMES, 12)], ids=["slices", "volumes of two channels"])
def test_five_replayed_cases_among_200_are_found_in_ten_of_ten_seeds(replay, options, side, tmp_path):
    config, alarms, areas = AuditConfig(side=side, encoder={"steps": 30}), [], []
    for seed in range(SEEDS):
        folder = tmp_path / str(seed)
        training = people(folder, "train", 40, seed=1000 + seed, **options)
        control = people(folder, "held", 40, seed=2000 + seed, **options)
        drawn = synthetic_cohort(
            folder, DRAWN, seed=3000 + seed, training=training, replayed=REPLAYED, replay=replay, **options
        )
        result = audit_cohort(drawn, training, control, config=config, seed=seed)
        copies = set(result.copies.loc[result.copies["copy"], "case_id"])
        replayed = {case.case_id for case in drawn.cases[:REPLAYED]}
        assert replayed <= copies, f"seed {seed}"
        alarms.append(len(copies - replayed) / (DRAWN - REPLAYED))
        areas.append(result.without_generator["auc"].mean())
    print(f"{replay.__name__}: false alarms {np.mean(alarms):.1%}, without a generator {np.mean(areas):.2f}")
    assert np.mean(alarms) <= 0.05
    assert np.mean(areas) == pytest.approx(0.5, abs=0.05)
