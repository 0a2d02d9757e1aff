import numpy as np
import pandas as pd
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort, read_slices, write_nnunet
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from tests.helpers import write_array


def write_slices(folder, masks, **columns):
    """Write one slice per mask (``None``: no mask), two slices a subject, and ``slices.csv``."""
    rng = np.random.default_rng(0)
    rows = []
    for index, mask in enumerate(masks):
        row = {"slice_id": f"s{index}", "subject_id": f"p{index // 2}", "image": f"images/s{index}.png", "mask": ""}
        write_array(folder / row["image"], rng.integers(1, 200, (6, 8)))
        if mask is not None:
            row["mask"] = f"masks/s{index}.png"
            write_array(folder / row["mask"], mask)
        rows.append(row | {name: values[index] for name, values in columns.items()})
    pd.DataFrame(rows).to_csv(folder / "slices.csv", index=False)
    return folder


def mask_of(*values):
    mask = np.zeros((6, 8), np.uint8)
    mask[0, : len(values)] = values
    return mask


def test_slices_become_a_cohort(tmp_path):
    folder = write_slices(tmp_path / "ct", [mask_of(1, 2), mask_of(1), mask_of(), None], px=["2", "1", "0", ""])
    cohort = read_slices(folder)
    assert cohort.name == "ct"
    assert cohort.channels == ("CT",)
    assert cohort.labels == {"background": 0, "lesion_1": 1, "lesion_2": 2}
    assert cohort.subjects == ("p0", "p1")
    assert [case.annotation for case in cohort] == ["lesion", "lesion", "lesion_free", "unknown"]
    assert [case.extra["px"] for case in cohort] == ["2", "1", "0", ""]
    assert read_slices(folder / "slices.csv") == cohort
    np.testing.assert_array_equal(load_scan(cohort["s0"], ["CT"]).label, mask_of(1, 2))


def test_a_table_of_windows_leads_to_the_same_files(tmp_path):
    table = write_slices(tmp_path, [mask_of(1)]) / "slices.csv"
    cohort = read_slices(table)
    table.write_text(table.read_text().replace("/", "\\"))
    assert read_slices(table) == cohort


def test_slices_survive_the_import(tmp_path):
    cohort = read_slices(write_slices(tmp_path / "ct", [mask_of(1, 2), mask_of(), None], px=["2", "0", "9"]))
    write_nnunet(cohort, tmp_path / "out", columns=["px"])
    back = read_cohort(tmp_path / "out")
    for before, after in zip(cohort, back, strict=True):
        assert (before.annotation, before.subject_id, before.extra) == (
            after.annotation,
            after.subject_id,
            after.extra,
        )
        assert before.images["CT"].read_bytes() == after.images["CT"].read_bytes()


def test_a_single_class_is_called_lesion(tmp_path):
    assert read_slices(write_slices(tmp_path, [mask_of(1)])).labels == {"background": 0, "lesion": 1}
    named = {"background": 0, "haematoma": 1, "oedema": 2}
    assert read_slices(tmp_path, labels=named).labels == named


def test_an_empty_mask_cell_is_what_the_caller_says(tmp_path):
    write_slices(tmp_path, [None])
    assert read_slices(tmp_path).cases[0].annotation is Annotation.UNKNOWN
    assert read_slices(tmp_path, no_mask="lesion_free").cases[0].annotation is Annotation.LESION_FREE


def test_the_annotation_column_has_the_last_word(tmp_path):
    write_slices(tmp_path, [None, None], annotation=["lesion_free", ""])
    assert [case.annotation for case in read_slices(tmp_path)] == ["lesion_free", "unknown"]
    write_slices(tmp_path / "odd", [None], annotation=["none"])
    with pytest.raises(CohortError, match="annotation 'none' is unknown"):
        read_slices(tmp_path / "odd")


def test_a_slice_with_a_lesion_and_no_mask_stays_one(tmp_path):
    """Until a mask is there, an all-zero label must not say that there is none."""
    write_slices(tmp_path / "in", [None, mask_of(1)], annotation=["lesion", ""])
    write_nnunet(read_slices(tmp_path / "in"), tmp_path / "out")
    back = read_cohort(tmp_path / "out")
    assert [(case.annotation, case.outlined) for case in back] == [("lesion", False), ("lesion", True)]
    assert [path.name for path in (tmp_path / "out" / "labelsTr").iterdir()] == ["s1.png"]


def test_masks_of_0_and_255_are_refused_unless_asked_for(tmp_path):
    write_slices(tmp_path, [mask_of(255), mask_of()])
    with pytest.raises(CohortError, match=r"s0\.png.*0 and 255.*`binary_masks`"):
        read_slices(tmp_path)
    problems = []
    assert [case.case_id for case in read_slices(tmp_path, on_problem=problems.append)] == ["s1"]
    assert len(problems) == 1
    write_nnunet(read_slices(tmp_path, binary_masks=True), tmp_path / "out", binary_masks=True)
    label = load_scan(read_cohort(tmp_path / "out")["s0"], ["CT"]).label
    np.testing.assert_array_equal(label, mask_of(1))


@pytest.mark.parametrize("labels", [None, {"background": 0, "lesion": 1}])
def test_a_mask_with_smoothed_edges_is_left_out_by_name(tmp_path, labels):
    write_slices(tmp_path, [mask_of(64, 255, 128), mask_of(1)])
    problems = []
    assert [case.case_id for case in read_slices(tmp_path, labels=labels, on_problem=problems.append)] == ["s1"]
    assert len(problems) == 1
    assert "s0.png" in str(problems[0])
    assert "smoothed edges" in str(problems[0])


@pytest.mark.parametrize("labels", [None, {"background": 0, "lesion": 1}])
def test_mask_values_without_a_class_are_refused(tmp_path, labels):
    write_slices(tmp_path, [mask_of(1, 7)])
    with pytest.raises(CohortError, match="7"):
        read_slices(tmp_path, labels=labels)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("slice_id,subject_id,image\ns0,p0,a.png\ns0,p0,b.png\n", "s0 twice"),
        ("slice_id,image\ns0,a.png\n", "no column subject_id"),
        ("slice_id,subject_id,image\n", "lists no cases"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, rows, message):
    (tmp_path / "slices.csv").write_text(rows)
    with pytest.raises(CohortError, match=message):
        read_slices(tmp_path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(CohortError, match=r"slices\.csv: the file is missing"):
        read_slices(tmp_path)
