"""Files of detections, several readers, and the scores read from curves."""

import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.scan import Scan, load_scan, save_label
from lesionforge.errors import CohortError, ConfigError
from lesionforge.scores.detections.case_detections import (
    evaluate_by_tolerance,
    evaluate_detections,
    score_detections,
)
from lesionforge.scores.detections.detection_file import detection_map, read_detections, write_detections
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, FROC_CURVE, Detected
from lesionforge.scores.detections.froc import froc, row_of
from lesionforge.scores.detections.hits import find_hits
from lesionforge.scores.detections.readers import Readers, agreed_lesions
from lesionforge.scores.registry import find_score, scores_in
from lesionforge.scores.statistics.arm_statistics import interval_of
from lesionforge.scores.statistics.resampling import Resampling
from tests.helpers import tiny_cohort

OBLIQUE = np.array([[0.9, -0.3, 0, 12], [0.2, 1.1, 0.1, -7], [0, 0.1, 3.0, 2], [0, 0, 0, 1.0]])


def scan_of(spatial_dims, *, label=None, affine=None):
    shape = (20, 24, 10)[:spatial_dims]
    case = Case(case_id="a", subject_id="s", images={}, annotation=Annotation.LESION)
    straight = np.eye(4) if spatial_dims == 2 else OBLIQUE
    return Scan(
        case=case,
        channels=("SWI",),
        image=np.zeros((1, *shape), np.float32),
        label=label if label is not None else np.zeros(shape, np.int16),
        affine=straight if affine is None else affine,
        anatomy=None,
        region=None,
    )


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_detections_are_read_as_they_were_written(tmp_path, spatial_dims):
    scan, rng = scan_of(spatial_dims), np.random.default_rng(0)
    places = rng.uniform(0, 9, (12, spatial_dims))
    confidences = rng.random(12)
    write_detections(tmp_path / "a.csv", places, confidences, scan)
    read, certain = read_detections(tmp_path / "a.csv", scan)
    order = np.argsort(-confidences)
    assert np.allclose(read, places[order], atol=2e-3)
    assert np.allclose(certain, confidences[order], atol=1e-5)
    table = pd.read_csv(tmp_path / "a.csv")
    expected = nib.affines.apply_affine(scan.affine, np.pad(places[order], ((0, 0), (0, 3 - spatial_dims))))
    assert np.allclose(table[["x", "y", "z"]], expected, atol=1e-3)


def test_confidences_near_0_and_1_keep_their_order(tmp_path):
    """On disk, in the table of a benchmark and on the curve: a trained network is this sure of many candidates."""
    label = np.zeros((20, 24, 10), np.int16)
    label[5, 5, 5] = 1
    scan, logits = scan_of(3, label=label), np.array([-25.0, -20.0, -15.0, 15.0, 18.0, 22.0])
    places = np.array([[15.0, 5, n] for n in range(5)] + [[5.0, 5, 5]])
    write_detections(tmp_path / "a.csv", places, 1 / (1 + np.exp(-logits)), scan)
    assert len(np.unique(read_detections(tmp_path / "a.csv", scan)[1])) == 6
    curve = froc(pd.DataFrame([{"subject_id": "s", **score_detections(tmp_path / "a.csv", scan)}]))
    assert curve.sensitivity_at(0) == 1, "the lesion is the surest of all"
    assert curve.false_positives.tolist() == [0, 0, 1, 2, 3, 4, 5]


def test_no_detection_is_written_and_read(tmp_path):
    scan = scan_of(3)
    write_detections(tmp_path / "a.csv", np.empty((0, 3)), np.empty(0), scan)
    places, confidences = read_detections(tmp_path / "a.csv", scan)
    assert places.shape == (0, 3)
    assert confidences.shape == (0,)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x,y,z,confidence\n500,0,0,0.5\n", "has 1 detections outside the scan"),
        ("x,y,confidence\n1,2,0.5\n", "is no table with x, y, z, confidence"),
        ("x,y,z,confidence\n1,2,left,0.5\n", "is no table with"),
        ("x,y,z,confidence\n1,2,,0.5\n", "not finite"),
        ("", "is no table with"),
    ],
)
def test_a_file_in_another_space_or_form_is_refused(tmp_path, text, sentence):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(CohortError, match=sentence):
        read_detections(tmp_path / "a.csv", scan_of(3))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_map_shows_a_ball_around_each_detection(spatial_dims):
    places = np.array([[5.0] * spatial_dims, [0.2] + [8.4] * (spatial_dims - 1)])
    shape, spacing = (12,) * spatial_dims, (1.0,) * (spatial_dims - 1) + (3.0,)
    found = detection_map(places, shape, spacing, radius_mm=2.0)
    distance = np.linalg.norm((np.indices(shape).reshape(spatial_dims, -1).T - places[0]) * spacing, axis=1)
    near = (distance <= 2.0).reshape(shape)
    assert (found[near] == 1).all()
    assert found[(0, *[8] * (spatial_dims - 1))] == 1
    assert detection_map(places, shape, spacing, radius_mm=0.0).sum() == 2
    assert not detection_map(places[:0], shape, spacing, radius_mm=2.0).any()


def test_readers_count_lesions_and_not_voxels():
    """Three readers outline one spot in different voxels; a second is seen by two of them, a third by one."""
    maps = np.zeros((3, 20, 20), bool)
    maps[0, 5, 5], maps[1, 6, 5], maps[2, 5, 6] = True, True, True
    maps[0, 12:14, 12], maps[1, 13, 12] = True, True
    maps[2, 17, 3] = True
    majority, anybody = (agreed_lesions(list(maps), agree) for agree in ("majority", "any"))
    assert majority[5, 5]
    assert majority[12:14, 12].all()
    assert not majority[17, 3]
    assert np.array_equal(anybody, maps.any(0))
    assert not agreed_lesions(list(maps[:2, :, :4]), "majority").any()
    two = agreed_lesions(list(maps[[0, 2]]), "majority")
    assert two[5, 5], "both of two"
    assert not two[12, 12], "one of two is no majority"


def test_readers_on_another_grid_or_without_a_map_are_named(tmp_path):
    scan = scan_of(3)
    with pytest.raises(ConfigError, match="readers"):
        Readers(())
    with pytest.raises(CohortError, match="there is no map of this case by this reader"):
        Readers((tmp_path,)).agreed(scan)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(CohortError, match="not on the grid"):
        Readers((tmp_path,)).agreed(scan)
    nib.save(nib.Nifti1Image(np.ones(scan.spatial_shape, np.uint8), OBLIQUE), tmp_path / "a.nii.gz")
    assert Readers((tmp_path,)).agreed(scan).label.all()


def test_readers_may_annotate_scans_that_have_no_label(tmp_path):
    """Of two scans without annotation, the one that the readers annotated is scored and the other left out."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1, n_unknown=2)
    lesion, healthy, unknown, _ = cohort
    for case in (lesion, unknown):
        scan = load_scan(case, cohort.channels[:1])
        marks = np.zeros(scan.spatial_shape, np.int16)
        marks[30, 30] = 1
        write_detections(tmp_path / f"{case.case_id}.csv", np.array([[30, 30]]), np.array([0.9]), scan)
        for reader in ("one", "two"):
            save_label(tmp_path / reader / f"{case.case_id}.png", marks, scan.file)
    table = evaluate_detections(tmp_path, cohort, readers=Readers((tmp_path / "one", tmp_path / "two")))
    assert table["case_id"].tolist() == [case.case_id for case in (lesion, healthy, unknown)]
    assert table["case_sensitivity"].tolist()[::2] == [1, 1]
    assert "by this reader" in table["problem"][1]


def test_tables_of_several_tolerances_are_each_alone_and_all_name_the_problems(tmp_path):
    """A lesion of one pixel, detected 2.5 mm beside it; the second case has no detections."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2).with_lesions()
    scan = load_scan(cohort.cases[0], cohort.channels[:1])
    marks = np.zeros(scan.spatial_shape, np.int16)
    marks[30, 30] = 1
    save_label(cohort.cases[0].label, marks, scan.file)
    away = 2.5 / scan.spacing[0]
    write_detections(tmp_path / f"{scan.case.case_id}.csv", np.array([[30 + away, 30]]), np.array([0.9]), scan)
    tables = evaluate_by_tolerance(tmp_path, cohort, [0.0, 2.0, 3.0])
    assert {mm: table["case_sensitivity"][0] for mm, table in tables.items()} == {0.0: 0, 2.0: 0, 3.0: 1}
    for mm, table in tables.items():
        pd.testing.assert_frame_equal(table, evaluate_detections(tmp_path, cohort, tolerance_mm=mm))
        assert "there are no detections of this case" in table["problem"][1]


def table_of(*cases):
    """Return a table of cases, each given as (confidences of hits or None for a miss, confidences of false ones)."""
    rows = []
    for number, (hits, false) in enumerate(cases):
        truth = np.zeros((200, 4), bool)
        truth[10 * np.arange(len(hits)) + 5, 1] = True
        places = [(10 * i + 5, 1) for i, value in enumerate(hits) if value is not None]
        places += [(150 + i, 3) for i in range(len(false))]
        confidences = [*(value for value in hits if value is not None), *false]
        found = find_hits(np.array(places, float).reshape(-1, 2), confidences, truth, (1.0, 1.0))
        rows.append({"case_id": f"c{number}", "subject_id": f"s{number}", "seed": 0, **row_of(found)})
    return pd.DataFrame(rows)


def whole(table):
    """Return the FROC curve over all cases of a table."""
    return FROC_CURVE.function(table, np.ones((1, len(table))))[0]


@pytest.mark.parametrize("name", [name for name, score in DETECTION_SCORES.items() if score.weighted])
def test_many_samples_at_once_give_what_each_gives_alone(name):
    rng = np.random.default_rng(0)
    cases = [
        ([None if value < 0.3 else value for value in rng.random(number % 4)], rng.random(12)) for number in range(9)
    ]
    table, score = table_of(*cases), DETECTION_SCORES[name]
    resampling = Resampling(table["subject_id"].tolist(), n_resamples=60)
    expected = [score(part) for part in resampling.tables(table)]
    assert np.allclose(resampling.replicates(score, table), expected, equal_nan=True)


def test_scores_are_read_from_the_curve_by_hand():
    """Two patients with three lesions, of which one is missed by all, and a lesion-free case.

    Thresholds 0.9, 0.8, 0.6 and 0.5 give 1, 1, 2 and 2 hits, and 0, ½, ½ and 1 false positives per patient.
    """
    table = table_of(([0.9, None], [0.8]), ([0.6], [0.5]), ([], [0.7, 0.4]))
    value = {name: DETECTION_SCORES[name](table) for name in DETECTION_SCORES if name.startswith("froc")}
    assert value["froc_sensitivity"] == pytest.approx(2 / 3)
    assert value["froc_mean_sensitivity"] == pytest.approx((1 / 3 + 1 / 3 + 5 * 2 / 3) / 7)
    assert math.isnan(value["froc_false_positives"]), "90 % are never reached"
    assert value["froc_false_positives_healthy"] == 2, "all are kept where ten are allowed"
    assert whole(table)[0] == pytest.approx(100 / 3)
    assert whole(table)[-1] == pytest.approx(200 / 3)


def test_false_positives_are_counted_per_patient_and_not_per_case():
    """Two patients: one with three slices, of which one has no lesion, and one with one slice; and a healthy one.

    At 0.5, the patients have 1 + 2 + 1 and 1 false positives, 2.5 per patient; the healthy one has 3 in two slices.
    """
    slices = table_of(([0.9], [0.5]), ([0.8], [0.5, 0.5]), ([], [0.5]), ([0.7], [0.5]), ([], [0.5]), ([], [0.5, 0.5]))
    of_patients = slices.assign(subject_id=["a", "a", "a", "b", "c", "c"])
    curve = froc(of_patients)
    assert curve.false_positives[-1] == 2.5
    assert curve.false_positives_healthy[-1] == 3
    assert curve.sensitivity[-1] == 1
    volumes = table_of(([0.9, 0.8], [0.5] * 4), ([0.7], [0.5]), ([], [0.5] * 3))
    for weights in (None, np.array([[2.0, 0, 1], [1, 1, 0]])):
        of_slices = None if weights is None else weights[:, [0, 0, 0, 1, 2, 2]]
        whole_scans, cut = froc(volumes, weights), froc(of_patients, of_slices)
        for name in ("sensitivity", "false_positives", "false_positives_healthy"):
            assert np.allclose(getattr(whole_scans, name), getattr(cut, name), equal_nan=True)


def test_without_a_lesion_there_is_no_curve():
    table = table_of(([], [0.5]))
    assert all(math.isnan(score(table)) for score in DETECTION_SCORES.values() if score.level == "set")
    assert np.isnan(whole(table)).all()


def test_the_cells_of_a_table_survive_a_file(tmp_path):
    """A single number is read as a number, several as text, none as NaN."""
    for table in (table_of(([0.9], [0.8])), table_of(([0.9, 0.7], []), ([0.5], [0.25, 0.125]))):
        table.to_csv(tmp_path / "t.csv", index=False)
        again = pd.read_csv(tmp_path / "t.csv")
        assert np.array_equal(whole(again), whole(table))
        assert {"froc_sensitivity", "froc_mean_sensitivity"} <= set(scores_in(again))


def test_the_band_holds_the_curve_and_shrinks_to_it_for_equal_patients():
    same = table_of(*[([0.9, 0.3], [0.5])] * 4)
    mean, low, high = FROC_CURVE.band(same, n_resamples=50)
    assert np.allclose(low, mean)
    assert np.allclose(high, mean)
    differing = table_of(([0.9], []), ([None], [0.5]), ([0.2], [0.6]), ([0.7], []))
    mean, low, high = FROC_CURVE.band(differing, n_resamples=200)
    assert (low <= mean + 1e-9).all()
    assert (mean <= high + 1e-9).all()
    assert (high - low).max() > 20


def test_the_band_is_the_interval_of_the_score_at_each_point():
    """Over subjects, widened for few of them, and over seeds."""
    rng = np.random.default_rng(0)
    seeds = []
    for seed in range(3):
        cases = [([None if x < 0.3 else x for x in rng.random(3)], rng.random(15)) for _ in range(6)]
        seeds.append(table_of(*cases).assign(seed=seed))
    rows, score = pd.concat(seeds), DETECTION_SCORES["froc_sensitivity"]
    for table in (rows, seeds[0]):
        mean, low, high = FROC_CURVE.band(table, n_resamples=200)
        expected = interval_of(table, score, n_resamples=200)
        at_ten = FROC_CURVE.x.tolist().index(10)
        assert (mean[at_ten], low[at_ten], high[at_ten]) == pytest.approx(
            (100 * expected.mean, 100 * expected.low, 100 * expected.high)
        )
    alone, *ends = FROC_CURVE.band(table_of(([0.9], [0.8])), n_resamples=10)
    assert alone[-1] == 100
    assert np.isnan(ends).all()


def test_the_sensitivity_of_a_case_has_its_own_threshold():
    truth = np.zeros((60, 4), bool)
    truth[[5, 25, 45], 1] = True
    places = np.array([(5, 1), (25, 1), *[(i, 3) for i in range(50, 60)], (45, 1)], float)
    confidences = [0.9, 0.8, *np.linspace(0.7, 0.6, 10), 0.1]
    case = Detected(hits=find_hits(places, confidences, truth, (1.0, 1.0)), n_detections=13)
    assert case.sensitivity_at(10) == 1
    assert case.sensitivity_at(9) == pytest.approx(2 / 3)
    nothing = Detected(hits=find_hits(places[:0], [], truth, (1.0, 1.0)), n_detections=0)
    assert nothing.sensitivity_at(10) == nothing.found == 0


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_row_has_every_score_of_a_case(tmp_path, spatial_dims):
    label = np.zeros((20, 24, 10)[:spatial_dims], np.int16)
    label[(5,) * spatial_dims] = 1
    scan = scan_of(spatial_dims, label=label)
    write_detections(tmp_path / "a.csv", np.array([[5.0] * spatial_dims]), np.array([0.7]), scan)
    row = score_detections(tmp_path / "a.csv", scan)
    assert row["case_sensitivity"] == row["candidate_sensitivity"] == row["candidates"] == 1
    assert {name for name in row if name in DETECTION_SCORES} == {
        name for name, score in DETECTION_SCORES.items() if score.level == "case"
    }
    assert find_score("froc_sensitivity").made_of == tuple(name for name in row if name not in DETECTION_SCORES)
