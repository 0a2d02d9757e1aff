from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.scan import load_scan
from lesionforge.errors import ConfigError
from lesionforge.masks import MaskBank
from lesionforge.masks.own import OwnMasks, OwnOrOther
from lesionforge.preprocessing.brain.region import with_region
from tests.helpers import NESTED, tiny_cohort


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_mask_is_the_scans_own_wherever_it_lies_and_however_small(spatial_dims, tmp_path):
    case = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1, labels=NESTED).cases[0]
    scan = load_scan(case, ("FLAIR",))
    corner = np.zeros_like(scan.label)
    corner.flat[0] = 2
    for label in (scan.label, corner):
        placed = OwnMasks().sample(replace(scan, label=label), np.random.default_rng(0), min_volume=1e9)
        assert np.array_equal(placed.mask, label)
    assert placed.mask_id == case.case_id
    assert placed.subjects == {case.subject_id}


def test_a_scan_without_a_lesion_has_no_mask_of_its_own(tmp_path):
    case = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1, n_healthy=1).cases[0]
    with pytest.raises(ConfigError, match="case_000: has no lesion of its own to draw; draw into scans with a mask"):
        OwnMasks().sample(load_scan(case, ("FLAIR",)), np.random.default_rng(0))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_share_of_the_masks_is_the_scans_own(spatial_dims, share, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, labels=NESTED)
    scan, bank = with_region(load_scan(cohort.cases[0], ("FLAIR",))), MaskBank(cohort)
    source = OwnOrOther(bank, share)
    assert (source.subjects, source.of_own_lesion, source.instead) == (bank.subjects, True, False)
    assert source.digest != OwnOrOther(bank, share / 2 + 0.1).digest
    own = 0
    for seed in range(12):
        placed = source.sample(scan, np.random.default_rng(seed), min_volume=1)
        if np.array_equal(placed.mask, scan.label):
            own += 1
            assert (placed.mask_id, placed.subjects) == (scan.case.case_id, {scan.case.subject_id})
        else:
            assert not placed.mask[scan.label > 0].any()
    assert own / 12 == pytest.approx(share, abs=0.3 if share else 0)
