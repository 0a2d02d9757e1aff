import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.errors import CohortError, ConfigError
from lesionforge.scores.predictions.case_scores import evaluate, score_case
from lesionforge.scores.predictions.prediction_scores import EMPTY_MASK_RULE, PREDICTION_SCORES
from lesionforge.scores.registry import find_score, is_score

ONE_CLASS = {"background": 0, "lesion": 1}
TWO_CLASSES = {"background": 0, "core": 1, "oedema": 2}


def label_map(spatial_dims, start, stop, value=1, size=12):
    label = np.zeros((size,) * spatial_dims, np.int16)
    label[(slice(start, stop),) * spatial_dims] = value
    return label


@pytest.mark.parametrize("spatial_dims", [2, 3])
class TestScoreCase:
    def test_every_score_is_in_the_registry(self, spatial_dims):
        truth = label_map(spatial_dims, 2, 6)
        scores = score_case(truth, truth, (1.0,) * spatial_dims, TWO_CLASSES)
        assert all(is_score(name) and find_score(name).unit for name in scores)
        assert all(isinstance(value, float) for value in scores.values())

    def test_perfect_prediction(self, spatial_dims):
        truth = label_map(spatial_dims, 2, 6)
        scores = score_case(truth, truth, (1.0,) * spatial_dims, ONE_CLASS)
        assert {scores[name] for name in ("dice", "lesion_f1", "lesion_sensitivity", "lesion_precision")} == {1.0}
        assert scores["hd95"] == 0
        assert "dice_lesion" not in scores

    def test_lesion_free_cases_have_no_dice_among_those_with_lesions(self, spatial_dims):
        nothing, lesion = label_map(spatial_dims, 0, 0), label_map(spatial_dims, 2, 6)
        for prediction in (nothing, lesion):
            assert math.isnan(score_case(prediction, nothing, (1.0,) * spatial_dims, ONE_CLASS)["lesion_dice"])
            scores = score_case(prediction, lesion, (1.0,) * spatial_dims, ONE_CLASS)
            assert scores["lesion_dice"] == scores["dice"]

    def test_classes_count_together_and_one_by_one(self, spatial_dims):
        truth, prediction = label_map(spatial_dims, 2, 6, value=1), label_map(spatial_dims, 2, 6, value=2)
        scores = score_case(prediction, truth, (1.0,) * spatial_dims, TWO_CLASSES)
        assert scores["dice"] == 1
        assert scores["dice_core"] == 0

    @pytest.mark.parametrize("found", [0, 1, 2])
    def test_a_class_is_scored_only_in_cases_that_have_it(self, spatial_dims, found):
        truth, prediction = label_map(spatial_dims, 2, 6, value=1), label_map(spatial_dims, 2, 6, value=found)
        scores = score_case(prediction, truth, (1.0,) * spatial_dims, TWO_CLASSES)
        assert scores["dice_core"] == scores["image_dice_core"] == (found == 1)
        assert all(math.isnan(scores[f"{name}_oedema"]) for name in ("dice", "image_dice", "hd95"))

    def test_lesion_f1_is_of_cases_with_lesions(self, spatial_dims):
        nothing, lesion = label_map(spatial_dims, 0, 0), label_map(spatial_dims, 2, 6)
        for prediction in (nothing, lesion):
            assert math.isnan(score_case(prediction, nothing, (1.0,) * spatial_dims, ONE_CLASS)["lesion_f1"])
        assert score_case(nothing, lesion, (1.0,) * spatial_dims, ONE_CLASS)["lesion_f1"] == 0

    def test_sizes_have_the_unit_of_their_dimension(self, spatial_dims):
        prediction, truth = label_map(spatial_dims, 2, 8), label_map(spatial_dims, 2, 4)
        scores = score_case(truth, prediction, (2.0,) * spatial_dims, ONE_CLASS)
        expected = {2: ("area_difference_mm2", -128), 3: ("volume_difference_ml", -1.664)}[spatial_dims]
        assert scores[expected[0]] == pytest.approx(expected[1])
        assert scores[f"absolute_{expected[0]}"] == pytest.approx(-expected[1])

    def test_false_positives_are_counted_in_lesion_free_cases_only(self, spatial_dims):
        some, none = label_map(spatial_dims, 2, 6), label_map(spatial_dims, 0, 0)
        name = "false_positive_ml" if spatial_dims == 3 else "false_positive_mm2"
        spacing = (1.0,) * spatial_dims
        false_positive = score_case(some, none, spacing, ONE_CLASS)[name]
        assert false_positive == pytest.approx(4**spatial_dims / (1000 if spatial_dims == 3 else 1))
        assert score_case(none, none, spacing, ONE_CLASS)[name] == 0
        assert math.isnan(score_case(some, some, spacing, ONE_CLASS)[name])

    def test_false_alarms_are_of_lesion_free_cases_only(self, spatial_dims):
        some, none = label_map(spatial_dims, 2, 6), label_map(spatial_dims, 0, 0)
        alarms = [score_case(found, none, (1.0,) * spatial_dims, ONE_CLASS)["false_alarm"] for found in (some, none)]
        assert alarms == [1, 0]
        assert math.isnan(score_case(none, some, (1.0,) * spatial_dims, ONE_CLASS)["false_alarm"])

    def test_maps_of_different_size_are_refused(self, spatial_dims):
        truth, prediction = label_map(spatial_dims, 2, 6), label_map(spatial_dims, 2, 6, size=13)
        with pytest.raises(CohortError, match="size"):
            score_case(prediction, truth, (1.0,) * spatial_dims, ONE_CLASS)


def test_in_plane_changes_hd95_only():
    truth, prediction = label_map(3, 2, 6), label_map(3, 4, 9)
    through, within = (score_case(prediction, truth, (1, 1, 8), ONE_CLASS, in_plane=flag) for flag in (False, True))
    assert within["hd95"] < through["hd95"]
    assert {name for name in through if through[name] != within[name] and through[name] == through[name]} == {"hd95"}


def test_registry_names_direction_and_the_class():
    assert PREDICTION_SCORES["dice"].higher_is_better is True
    assert PREDICTION_SCORES["hd95"].higher_is_better is False
    assert PREDICTION_SCORES["volume_difference_ml"].higher_is_better is None
    assert "oedema" in find_score("dice_oedema").title
    assert not is_score("steps")
    assert "empty" in EMPTY_MASK_RULE
    with pytest.raises(ConfigError, match="choose from dice"):
        find_score("accuracy")


AFFINE = np.diag((-2.0, 1.5, 4.0, 1.0))


def write(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".png"):
        Image.fromarray(array.astype(np.uint8)).save(path)
    else:
        nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), path)
    return path


def make_cohort(folder, spatial_dims, n=3):
    ending = ".nii.gz" if spatial_dims == 3 else ".png"
    cases = []
    for i in range(n):
        image = write(folder / "imagesTr" / f"c{i}_0000{ending}", label_map(spatial_dims, 1, 9, value=50))
        label = write(folder / "labelsTr" / f"c{i}{ending}", label_map(spatial_dims, 2, 6))
        cases.append(
            Case(case_id=f"c{i}", subject_id=f"s{i}", images={"T1": image}, annotation=Annotation.LESION, label=label)
        )
    return Cohort(name="Test", channels=("T1",), labels=ONE_CLASS, cases=tuple(cases)), ending


@pytest.mark.parametrize("spatial_dims", [2, 3])
class TestEvaluate:
    def test_scores_every_case(self, tmp_path, spatial_dims):
        cohort, ending = make_cohort(tmp_path / "cohort", spatial_dims)
        for i in range(3):
            write(tmp_path / "predictions" / f"c{i}{ending}", label_map(spatial_dims, 2, 6 + i))
        table = evaluate(tmp_path / "predictions", cohort)
        assert table["case_id"].tolist() == ["c0", "c1", "c2"]
        assert table["subject_id"].tolist() == ["s0", "s1", "s2"]
        assert (table["problem"] == "").all()
        assert table["dice"].iloc[0] == 1
        assert table["dice"].is_monotonic_decreasing

    def test_uses_the_spacing_of_the_file(self, tmp_path, spatial_dims):
        cohort, ending = make_cohort(tmp_path / "cohort", spatial_dims, n=1)
        write(tmp_path / "p" / f"c0{ending}", label_map(spatial_dims, 2, 7))
        extra, voxel = (5**3 - 4**3, 12 / 1000) if spatial_dims == 3 else (5**2 - 4**2, 1)
        name = "volume_difference_ml" if spatial_dims == 3 else "area_difference_mm2"
        assert evaluate(tmp_path / "p", cohort)[name].iloc[0] == pytest.approx(extra * voxel)

    def test_bad_predictions_are_listed_and_the_others_done(self, tmp_path, spatial_dims):
        cohort, ending = make_cohort(tmp_path / "cohort", spatial_dims, n=5)
        folder = tmp_path / "p"
        write(folder / f"c0{ending}", label_map(spatial_dims, 2, 6))
        write(folder / f"c1{ending}", label_map(spatial_dims, 2, 6, size=10))
        write(folder / f"c2{ending}", label_map(spatial_dims, 2, 6, value=255))
        (folder / f"c3{ending}").write_bytes(b"not an image")
        problems = evaluate(folder, cohort).set_index("case_id")["problem"]
        assert problems["c0"] == ""
        assert "grid" in problems["c1"]
        assert "255" in problems["c2"]
        assert "cannot be read" in problems["c3"]
        assert "no prediction" in problems["c4"]
        assert all("\n" not in problem for problem in problems)

    def test_lesion_free_case_without_a_label_file(self, tmp_path, spatial_dims):
        cohort, ending = make_cohort(tmp_path / "cohort", spatial_dims, n=1)
        case = cohort.cases[0]
        free = Case(case_id="c0", subject_id="s", images=case.images, annotation=Annotation.LESION_FREE)
        unknown = Case(case_id="u", subject_id="u", images=case.images, annotation=Annotation.UNKNOWN)
        write(tmp_path / "p" / f"c0{ending}", label_map(spatial_dims, 0, 0))
        table = evaluate(tmp_path / "p", cohort.with_cases([free, unknown]))
        assert table["case_id"].tolist() == ["c0"]
        assert table["dice"].iloc[0] == 1

    def test_all_predictions_missing_still_gives_a_table(self, tmp_path, spatial_dims):
        cohort, _ = make_cohort(tmp_path / "cohort", spatial_dims)
        (tmp_path / "p").mkdir()
        assert evaluate(tmp_path / "p", cohort)["problem"].str.contains("no prediction").all()


def test_a_prediction_with_another_affine_is_a_problem(tmp_path):
    cohort, _ = make_cohort(tmp_path / "cohort", 3, n=1)
    write(tmp_path / "p" / "c0.nii.gz", label_map(3, 2, 6), affine=np.diag((2.0, 1.5, 4.0, 1.0)))
    table = evaluate(tmp_path / "p", cohort)
    assert "grid" in table["problem"].iloc[0]
    assert isinstance(table, pd.DataFrame)


def test_missing_folder_and_empty_cohort_are_refused(tmp_path):
    cohort, _ = make_cohort(tmp_path / "cohort", 3, n=1)
    with pytest.raises(CohortError, match="no such folder"):
        evaluate(tmp_path / "nowhere", cohort)
    with pytest.raises(CohortError, match="no case is annotated"):
        evaluate(tmp_path, cohort.with_cases([]))
