from dataclasses import replace
from pathlib import Path

import pytest

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.leaks import check_no_leak, leaving_out
from lesionforge.cohort.people import People
from lesionforge.errors import DoubtWarning, LeakError


def real(number: int) -> Case:
    return Case(
        case_id=f"case_{number}",
        subject_id=f"sub_{number}",
        images={"FLAIR": Path(f"{number}.png")},
        annotation=Annotation.LESION,
    )


COHORT = Cohort(
    name="all", channels=("FLAIR",), labels={"background": 0, "lesion": 1}, cases=tuple(real(i) for i in range(6))
)
TRAIN, TEST = COHORT.with_cases(COHORT.cases[:4]), COHORT.with_cases(COHORT.cases[4:])
SYNTHETIC = replace(
    real(0),
    case_id="syn_0",
    origin="synthetic",
    source_case="case_0",
    mask_id="case_1+edited",
    synthesizer="pix2pix",
    parents=("sub_0", "sub_1", "sub_2", "sub_3"),
)
MODELS = {"synthesizer": ["sub_0", "sub_2"], "mask source": ["sub_1", "sub_3"]}


def with_synthetic(**changes) -> Cohort:
    return TRAIN.with_cases([*TRAIN.cases, replace(SYNTHETIC, **changes)])


def test_a_clean_benchmark_passes():
    check_no_leak(with_synthetic(), TEST, models=MODELS)


@pytest.mark.parametrize(
    ("way", "forged"),
    [
        ("scan", {"subject_id": "sub_4", "source_case": "case_4"}),
        ("scan", {"source_case": "case_4"}),
        ("mask case_5", {"mask_id": "case_5", "parents": (*SYNTHETIC.parents, "sub_5")}),
        ("mask case_5\\+edited", {"mask_id": "case_5+edited"}),
        ("synthesizer pix2pix or mask source", {"parents": (*SYNTHETIC.parents, "sub_5")}),
    ],
)
def test_a_test_subject_behind_a_training_case_is_refused(way, forged):
    with pytest.raises(LeakError, match=rf"syn_0: has the test subject sub_[45] as a parent through its {way}"):
        check_no_leak(with_synthetic(**forged), TEST, models=MODELS)


@pytest.mark.parametrize("model", ["synthesizer", "mask source"])
def test_a_model_fitted_on_a_test_subject_is_refused(model):
    models = MODELS | {model: [*MODELS[model], "sub_4"]}
    with pytest.raises(LeakError, match=f"^{model}: was fitted on the test subject sub_4"):
        check_no_leak(with_synthetic(), TEST, models=models)


def test_a_subject_on_both_sides_is_refused():
    second_visit = replace(real(4), case_id="case_4_visit_2")
    with pytest.raises(LeakError, match=r"case_4_visit_2: has the test subject sub_4 .* scan"):
        check_no_leak(TRAIN.with_cases([*TRAIN.cases, second_visit]), TEST)


def test_a_drawn_test_case_is_refused():
    drawn = replace(SYNTHETIC, subject_id="sub_4", source_case="case_4", parents=("sub_4",))
    with pytest.raises(LeakError, match="syn_0: was drawn by pix2pix"):
        check_no_leak(TRAIN, TEST.with_cases([*TEST.cases, drawn]))


def test_a_simulated_case_may_be_tested_on():
    check_no_leak(TRAIN, TEST.with_cases([replace(case, origin="simulated") for case in TEST]))


def simulated(number: int, *, mask: str) -> Case:
    return replace(real(number), origin="simulated", mask_id=f"{mask}_lesion", parents=(mask,))


def test_a_simulated_case_with_somebodys_mask_may_be_tested_on_unless_training_knows_that_mask():
    test = TEST.with_cases([simulated(4, mask="sub-41"), simulated(5, mask="sub-42")])
    check_no_leak(TRAIN.with_cases([simulated(0, mask="sub-43")]), test)
    with pytest.raises(LeakError, match="case_0: has the test subject sub-42 as a parent"):
        check_no_leak(TRAIN.with_cases([simulated(0, mask="sub-42")]), test)
    with pytest.raises(LeakError, match="mask source: was fitted on the test subject sub-41"):
        check_no_leak(TRAIN, test, models={"mask source": ["sub-41", "sub-99"]})
    by_mask_gan = replace(SYNTHETIC, parents=(*SYNTHETIC.parents, "sub-41"), mask_id="maskgan")
    with pytest.raises(LeakError, match="syn_0: has the test subject sub-41"):
        check_no_leak(TRAIN.with_cases([*TRAIN.cases, by_mask_gan]), test)


@pytest.mark.parametrize(
    ("way", "forged"),
    [
        ("mask case_5_mask", {"mask_id": "case_5_mask"}),
        ("mask case_1\\+case_5", {"mask_id": "case_1+case_5"}),
        ("scan", {"source_case": "case_5_healed"}),
        ("synthesizer pix2pix or mask source", {"parents": (*SYNTHETIC.parents, "case_5_mask")}),
    ],
)
def test_a_name_that_leads_to_a_test_subject_is_a_leak(way, forged):
    with pytest.raises(LeakError, match=rf"syn_0: has the test subject sub_5 as a parent through its {way}"):
        check_no_leak(with_synthetic(**forged), TEST)


def test_a_model_of_a_test_subjects_bare_mask_is_refused():
    with pytest.raises(LeakError, match="mask source: was fitted on the test subject sub_4"):
        check_no_leak(TRAIN, TEST, models={"mask source": ["case_1_mask", "case_4_mask"]})
    check_no_leak(TRAIN, TEST, models={"mask source": ["case_1_mask", "case_2_mask"]})


@pytest.mark.parametrize("origin", ["real", "simulated"])
@pytest.mark.parametrize("left", [{"source_case": ""}, {"synthesizer": ""}, {"parents": ()}])
def test_a_drawn_case_by_another_name_of_its_origin_may_not_be_tested_on(origin, left):
    forged = replace(SYNTHETIC, **{"subject_id": "sub_4", "origin": origin, **left})
    assert forged.derived
    with pytest.raises(LeakError, match="syn_0: was drawn by"):
        check_no_leak(TRAIN.with_cases(TRAIN.cases[1:2]), TEST.with_cases([*TEST.cases, forged]))


def test_the_built_in_cohort_may_be_tested_on():
    facts = {"origin": "simulated", "synthesizer": "simulated", "mask_id": "m", "parents": ("x",)}
    check_no_leak(TRAIN, TEST.with_cases([replace(case, **facts) for case in TEST]))


def test_who_knows_somebody_held_out_is_left_out_bare_masks_by_their_file_names():
    people = People((*TRAIN, *TEST))
    names = ("case_1_mask", "case_4_mask", "case_2+case_5", "x")
    bare = TRAIN.with_cases([replace(real(0), case_id=name, subject_id=name) for name in names])
    kept = leaving_out(bare, {"sub_4", "sub_5"}, people, bare=True)
    assert [case.case_id for case in kept] == ["case_1_mask", "x"]
    sources = ("case_1", "case_4_healed")
    drawn = TRAIN.with_cases([replace(SYNTHETIC, case_id=source, source_case=source) for source in sources])
    assert [case.source_case for case in leaving_out(drawn, {"sub_4"}, people)] == ["case_1"]


@pytest.mark.parametrize("name", ["SUB_4", "sub_04", "ｓｕｂ＿４"])
def test_a_parent_whose_name_reads_like_a_test_subjects_is_a_warning(name):
    with pytest.warns(DoubtWarning, match="read alike, but one is behind training") as warned:
        check_no_leak(with_synthetic(parents=(*SYNTHETIC.parents, name)), TEST)
    assert name in str(warned[0].message)
    assert "sub_4" in str(warned[0].message)
    with pytest.warns(DoubtWarning, match="read alike"):
        check_no_leak(TRAIN, TEST, models={"synthesizer": [name]})


@pytest.mark.parametrize("name", ["SUB_4_mask", "sub_04_lesion", "lesion-SUB_4"])
def test_a_mask_whose_name_reads_like_a_test_subjects_is_a_warning(name):
    with pytest.warns(DoubtWarning, match=f"{name}, from which a training case was made, reads like .* sub_4"):
        check_no_leak(with_synthetic(mask_id=name), TEST)
