"""Healthy scans of another set: at the levels of those at hand, as bright, and no longer told apart."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.map_maker import MapMaker
from lesionforge.cohort.scan import load_scan, read_image, save_image
from lesionforge.cohort.structures import Structures, read_structures, write_structures
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import CohortError, LeakError, OutputError
from lesionforge.production.match import MOST_AUC, describe_auc, match_cohort, match_intensities, told_apart
from lesionforge.production.matching import heights as heights_module
from lesionforge.production.matching import set_classifier
from lesionforge.production.matching.heights import estimate_heights, look, stack_order
from lesionforge.production.matching.set_classifier import set_auc, tissue
from tests.heads import SLICES, bleeds, stacks
from tests.helpers import tiny_cohort
from tests.synthesizers.folders import contents


@pytest.fixture(scope="module", autouse=True)
def _fewer_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heights_module, "TREES", 60)
        patch.setattr(set_classifier, "TREES", 30)
        patch.setattr(set_classifier, "REPEATS", 1)
        yield


def brain_of(case):
    """Return the intensities of a volume's head beside lesions."""
    scan = load_scan(case, ["FLAIR"])
    return scan.image[0][(scan.image[0] > 0) & (scan.label == 0)]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return stacks(tmp_path_factory.mktemp("healthy"), 11)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return bleeds(tmp_path_factory.mktemp("reference"), 10)


@pytest.fixture(scope="module")
def matched(healthy, reference, tmp_path_factory):
    out = tmp_path_factory.mktemp("matched") / "Dataset001_Matched"
    return out, match_cohort(healthy, reference, out=out)


def test_heights_of_unseen_people_are_estimated(healthy, reference):
    found = estimate_heights(healthy, reference, stack_order(healthy))
    assert found.error < 1
    for case in healthy:
        true = SLICES - 1 - int(case.case_id[-2:])
        assert abs(found.of_stacks[case.case_id] - true) < 4
    errors = [found.of_slices[case.case_id] - int(case.case_id[-2:]) for case in reference]
    assert np.abs(errors).mean() < 1.5


def test_a_slice_looks_alike_whatever_its_brightness_and_its_lesion(tmp_path):
    normal, brighter = (load_scan(stacks(tmp_path / str(b), 1, brightness=b).cases[5], ["CT"]) for b in (1.0, 1.4))
    assert np.abs(look(normal) - look(brighter)).max() < 0.2
    case = bleeds(tmp_path / "b", 1).cases[0]
    scan = load_scan(case, ["CT"])
    plain = scan.image.copy()
    plain[0][scan.label > 0] = 95
    with_lesion, without = look(scan), look(replace(scan, image=plain))
    assert np.abs(with_lesion - without).max() < 0.1


def test_matched_slices_lie_at_the_levels_of_the_reference(matched, healthy, reference):
    out, report = matched
    downs = [SLICES - 1 - int(case.case_id[-2:]) for case in report.written.cohort]
    assert len(downs) == 11 * 3
    assert set(downs) <= {2, 3, 4, 5, 6, 7, 8}
    assert np.mean(downs) == pytest.approx(5, abs=0.6)
    rows = list(csv.DictReader((out / "match.csv").open()))
    assert [row["case_id"] for row in rows] == [case.case_id for case in report.written.cohort]
    assert len({(row["case_id"].split("_")[0], row["partner"]) for row in rows}) == len(rows)
    pairs = {(row["case_id"].split("_")[0], reference[row["partner"]].subject_id) for row in rows}
    assert len(pairs) == 11, "every healthy subject has one partner"
    assert max(Counter(partner for _, partner in pairs).values()) <= 2
    assert (out / "match.png").stat().st_size > 10_000


def test_a_classifier_tells_the_sets_apart_before_and_no_longer_after(matched):
    out, report = matched
    assert report.auc["before"]["histogram"] > 0.9
    assert report.auc["before"]["level"] > 0.65
    assert all(value <= MOST_AUC for value in report.auc["after"].values())
    assert not told_apart(report.auc)
    assert told_apart({"after": {"level": 0.5, "histogram": 0.9}})
    assert json.loads((out / "match.json").read_text())["auc"] == report.auc
    assert "level" in describe_auc(report.auc)


def test_only_tissue_changes_and_a_matched_case_knows_its_partner(matched, healthy, reference):
    out, report = matched
    for case in report.written.cohort:
        before, after = (load_scan(one, ["CT"]).image[0] for one in (healthy[case.case_id], case))
        bone = before == 255
        assert (after[bone] == 255).all()
        assert (after[before == 0] == 0).all()
        assert np.median(after[tissue(after, before > 0)]) == pytest.approx(95, abs=8)
        (partner,) = case.parents
        assert partner in reference.subjects
        assert case.derived
    with pytest.raises(LeakError):
        check_no_leak(report.written.cohort, reference)
    again = read_cohort(out)
    assert [case.parents for case in again] == [case.parents for case in report.written.cohort]


def test_intensities_get_the_wanted_distribution_and_keep_their_order():
    rng = np.random.default_rng(0)
    values, wanted = rng.gamma(2, 20, 4000), rng.normal(100, 10, 5000)
    image = np.sort(np.concatenate([values, [-50.0, 900.0]]))
    changed = match_intensities(image, values, wanted)
    assert changed[[0, -1]].tolist() == [-50, 900], "what lies beyond the sample stays"
    assert (np.diff(changed[1:-1]) >= 0).all()
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(changed[1:-1], share) == pytest.approx(np.quantile(wanted, share), abs=1)


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.3, 0.7), (3.0, 0.95, 1.0)])
def test_auc_is_chance_for_one_set_and_1_for_two(shift, low, high):
    rng = np.random.default_rng(0)
    groups = [f"g{index // 4}" for index in range(120)]
    is_reference = [index % 2 == 0 for index in range(120)]
    features = rng.normal(size=(120, 3)) + shift * np.array(is_reference)[:, None]
    assert low <= set_auc(features, is_reference, groups) <= high


def test_with_few_subjects_it_is_not_told_how_alike_the_sets_are(healthy, reference, tmp_path):
    few = reference.of_subjects(reference.subjects[:2])
    report = match_cohort(healthy.of_subjects(healthy.subjects[:4]), few, out=tmp_path / "out")
    assert set(report.auc["after"].values()) == {None}
    assert not told_apart(report.auc)
    assert "?" in describe_auc(report.auc)


def test_a_bad_scan_and_a_short_stack_are_left_out(reference, tmp_path):
    healthy = stacks(tmp_path / "h", 4)
    healthy.cases[3].images["CT"].write_bytes(b"no picture")
    short = [case for case in healthy if case.subject_id != "h03" or case.case_id in ("h03_s05", "h03_s06")]
    report = match_cohort(healthy.with_cases(short), reference, out=tmp_path / "out")
    (problem,) = report.written.problems
    assert "h00_s03" in str(problem)
    assert "h00_s03" in (tmp_path / "out" / "problems.csv").read_text()
    assert set(report.written.cohort.subjects) == {"h00", "h01", "h02"}


def test_places_in_a_stack_count_its_slices_with_lesions(tmp_path):
    whole = stacks(tmp_path / "h", 3)
    ill = [replace(case, annotation="lesion") if "_s0" in case.case_id else case for case in whole]
    order = stack_order(whole.with_cases(ill))
    assert order == {case.case_id: SLICES - 1 - int(case.case_id[-2:]) for case in whole}


def test_a_matched_case_knows_all_that_its_partner_knows(healthy, reference, tmp_path):
    knowing = [replace(case, parents=("x9",)) for case in reference]
    report = match_cohort(healthy.of_subjects(healthy.subjects[:3]), reference.with_cases(knowing), out=tmp_path / "o")
    assert all("x9" in case.parents for case in report.written.cohort)


@pytest.mark.slow
def test_both_sets_may_use_the_same_case_ids(healthy, reference, tmp_path):
    names = {case.case_id: healthy.cases[index].case_id for index, case in enumerate(reference)}
    renamed = reference.with_cases([replace(case, case_id=names[case.case_id]) for case in reference])
    plain, same = (match_cohort(healthy, one, out=tmp_path / name) for name, one in (("a", reference), ("b", renamed)))
    assert plain.auc == same.auc


def test_volumes_and_their_maps_are_all_kept_and_get_the_intensities_alone(tmp_path):
    tiny_cohort(tmp_path / "h", spatial_dims=3, n_subjects=3, n_healthy=3, cases_per_subject=2, anatomy=True)
    maker = MapMaker(methods=("net",), subjects=("sub_77",))
    structures = Structures(names={"rim": 1, "inside": 2}, parenchyma=(2,), maker=maker)
    write_structures(tmp_path / "h", structures)
    healthy = read_cohort(tmp_path / "h")
    reference = tiny_cohort(tmp_path / "r", spatial_dims=3, n_subjects=2, seed=1)
    for case in reference:
        file = case.images["FLAIR"]
        image, affine = read_image(file)
        save_image(file, image / 2000 + 0.002 * (image > 0), affine)
    report = match_cohort(healthy, reference, out=tmp_path / "out")
    wanted = np.median(np.concatenate([brain_of(case) for case in reference]))
    for case in report.written.cohort:
        assert np.median(brain_of(case)) == pytest.approx(wanted, rel=0.1)
        assert np.unique(brain_of(case)).size > 40
        assert load_scan(case, ["FLAIR"]).image.max() < 4 * wanted
    assert len(report.written.cohort) == 6
    assert report.height_error is None
    assert set(report.auc["after"]) == {"histogram"}
    assert all(case.origin == "real" and case.parents for case in report.written.cohort)
    assert read_structures(tmp_path / "out") == structures
    assert all(case.parenchyma == (2,) and case.map_maker == maker for case in report.written.cohort)


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_number_of_workers_does_not_matter(spatial_dims, healthy, reference, tmp_path):
    if spatial_dims == 3:
        healthy = tiny_cohort(tmp_path / "h", spatial_dims=3, n_subjects=3, n_healthy=3, cases_per_subject=2)
        reference = tiny_cohort(tmp_path / "r", spatial_dims=3, n_subjects=2, seed=1)
    steps = []
    for workers in (1, 2):
        out, engine = tmp_path / str(workers) / "out", LocalEngine(workers)
        report = match_cohort(healthy, reference, out=out, engine=engine, progress=lambda *at: steps.append(at))
        assert len(report.written.cohort) == steps[-1][0] == steps[-1][1]
    here, there = (contents(tmp_path / name / "out") for name in "12")
    assert here.pop("match.png")
    assert there.pop("match.png")
    assert here == there


def test_what_cannot_be_matched_is_said(healthy, reference, tmp_path):
    unknown = stacks(tmp_path / "u", 3, annotation="unknown")
    volumes = tiny_cohort(tmp_path / "v", spatial_dims=3, n_subjects=2, channels=("CT",))
    for cohort, to, what in (
        (reference, reference, "no lesion-free scan"),
        (unknown, reference, "no lesion-free scan"),
        (healthy, unknown, "no annotated scan"),
        (healthy, volumes, "one holds slices, the other volumes"),
        (healthy.of_subjects(healthy.subjects[:2]), reference, "too few to learn heights from"),
    ):
        with pytest.raises(CohortError, match=what):
            match_cohort(cohort, to, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(OutputError):
        match_cohort(healthy, reference, out=tmp_path / "full")
