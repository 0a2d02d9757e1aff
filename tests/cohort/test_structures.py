import json
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort, write_nnunet
from lesionforge.cohort.map_maker import MapMaker, all_makers
from lesionforge.cohort.new_ids import NewIds
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.cohort.structures import (
    FREESURFER,
    FREESURFER_STRUCTURES,
    Structures,
    given_anatomy,
    group_freesurfer,
    read_structures,
    write_structures,
)
from lesionforge.errors import CohortError
from lesionforge.preprocessing.brain.region import with_region
from tests.helpers import tiny_cohort, write_array

SYNTHSEG = [0, *range(2, 6), 7, 8, *range(10, 19), *range(24, 27), 28, 30, *range(41, 45), 46, 47, *range(49, 55)]
SYNTHSEG += [57, 58, 60, 62, 72, 85, 136, 137, 163, 164, 502, *range(506, 510), 511, 512, *range(514, 517), 530]
BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def test_there_are_27_structures_so_that_the_stroke_system_has_29_channels():
    assert len(FREESURFER) == len(FREESURFER_STRUCTURES.names) == 27
    assert sorted(FREESURFER_STRUCTURES.names.values()) == list(range(1, 28))


def test_no_value_is_in_two_structures_and_both_sides_are_alike():
    values = [value for of_structure in FREESURFER.values() for value in of_structure]
    assert len(values) == len(set(values))
    assert 0 not in values
    for name, left in FREESURFER.items():
        if name.startswith("left "):
            assert len(FREESURFER[name.replace("left", "right")]) == len(left)


def test_lesions_never_lie_in_fluid_ventricles_or_outside_the_brain():
    names = {value: name for name, value in FREESURFER_STRUCTURES.names.items()}
    parenchyma = {names[value] for value in FREESURFER_STRUCTURES.parenchyma}
    others = set(FREESURFER) - parenchyma
    assert others == {
        "left lateral ventricle",
        "right lateral ventricle",
        "third ventricle",
        "fourth ventricle",
        "cerebrospinal fluid and vessels",
        "other tissue of the head",
    }


def test_every_value_of_synthsegs_maps_has_a_structure():
    grouped = group_freesurfer(np.array(SYNTHSEG, np.int16).reshape(2, 27, 1), "maps")
    assert grouped.flat[0] == 0
    assert (grouped.ravel()[1:] > 0).all()
    names = FREESURFER_STRUCTURES.names
    assert group_freesurfer(np.array([[[17, 53, 1002, 254]]]), "x").tolist() == [
        [
            [
                names["left hippocampus"],
                names["right hippocampus"],
                names["left cerebral cortex"],
                names["cerebral white matter"],
            ]
        ]
    ]


@pytest.mark.parametrize("strange", [-1, 1, 99, 25_000])
def test_a_value_outside_the_table_is_named(strange):
    with pytest.raises(CohortError, match=rf"map_3: holds the values \[{strange}\]"):
        group_freesurfer(np.array([[[0, 2, strange]]]), "map_3")


@BOTH
def test_a_cohort_remembers_where_lesions_may_lie(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=2, anatomy=True)
    structures = Structures(names={"rim": 1, "inside": 2}, parenchyma=(2,))
    report = write_nnunet(cohort, tmp_path / "out", structures=structures)
    assert read_structures(tmp_path / "out") == structures
    for case in report.cohort:
        scan = load_scan(case, cohort.channels)
        assert case.parenchyma == (2,)
        assert np.array_equal(with_region(scan).region, scan.anatomy == 2)
    assert all(case.parenchyma == () for case in read_cohort(tmp_path / "c"))
    assert read_structures(tmp_path / "c") is None


@BOTH
def test_anatomy_maps_are_made_while_a_cohort_is_written(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=3, anatomy=True)

    def bright(scan):
        if scan.case.case_id == "case_001":
            raise CohortError("case_001", "no", "never")
        return (scan.image[0] > 100).astype(np.int16)

    report = write_nnunet(cohort, tmp_path / "out", anatomy=bright)
    assert [str(problem) for problem in report.problems] == ["case_001: no; never"]
    assert [case.case_id for case in report.cohort] == ["case_000", "case_002"]
    for case in report.cohort:
        scan = load_scan(case, cohort.channels)
        assert np.array_equal(scan.anatomy, scan.image[0] > 100)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("no json", "cannot be read as JSON"),
        ('{"structures": {"a": 1}}', "does not name structures"),
        ('{"structures": ["a"], "parenchyma": [1]}', "does not name structures"),
        ('{"structures": {"a": 1}, "parenchyma": [1, 7]}', r"parenchyma names the values \[7\]"),
        ('{"structures": {"a": 1}, "parenchyma": [1], "made_by": "kmeans"}', "made_by does not name a method"),
        (
            '{"structures": {}, "parenchyma": [], "made_by": {"method": "m", "training_subjects": [3]}}',
            "made_by does not",
        ),
        (
            '{"structures": {}, "parenchyma": [], "made_by": {"method": [], "training_subjects": []}}',
            "made_by does not",
        ),
    ],
)
def test_an_anatomy_json_that_makes_no_sense_is_refused(tmp_path, content, what):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    (tmp_path / "c" / "anatomy.json").write_text(content)
    with pytest.raises(CohortError, match=what) as error:
        read_cohort(tmp_path / "c")
    assert "anatomy.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_written_is_plain_json(tmp_path):
    write_structures(tmp_path, FREESURFER_STRUCTURES)
    content = json.loads((tmp_path / "anatomy.json").read_text())
    assert content["structures"]["brainstem"] in content["parenchyma"]


@pytest.mark.parametrize("maker", [None, MapMaker(methods=("net",), subjects=("old_1", "sub_00"))])
def test_what_made_the_maps_stays_with_them_under_new_ids_too(tmp_path, maker):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, anatomy=True)
    structures = Structures(names={"rim": 1, "inside": 2}, parenchyma=(2,), maker=maker)
    write_structures(tmp_path / "c", structures)
    cohort = read_cohort(tmp_path / "c")
    assert [case.map_maker for case in cohort] == [maker, maker]
    write_nnunet(cohort, tmp_path / "again", structures=structures)
    assert read_cohort(tmp_path / "again").cases[0].map_maker == maker
    ids = NewIds()
    write_nnunet(ids.cohort(cohort), tmp_path / "renamed", structures=structures)
    (found,) = {case.map_maker for case in read_cohort(tmp_path / "renamed")}
    assert "old_1" not in (tmp_path / "renamed" / "anatomy.json").read_text()
    assert found == (
        maker and MapMaker(methods=("net",), subjects=tuple(sorted(map(ids.subjects.get, maker.subjects))))
    )


def test_several_makers_are_one_with_the_subjects_of_all():
    one, other = MapMaker(methods=("net",), subjects=("b",)), MapMaker(methods=("kmeans",))
    assert all_makers([one, other, one]) == MapMaker(methods=("kmeans", "net"), subjects=("b",))
    assert all_makers([one, other]).known
    assert all_makers([one, None]) == MapMaker(methods=("net", "unknown"), subjects=("b",))
    assert not all_makers([all_makers([one, None]), other]).known
    assert all_makers([None]) is None


@pytest.mark.parametrize(
    ("methods", "written"),
    [(("bone and soft tissue",), "bone and soft tissue"), (("a and b", "unknown"), ["a and b", "unknown"])],
)
def test_a_method_keeps_its_name_whatever_words_it_has(methods, written, tmp_path):
    maker = MapMaker(methods=methods, subjects=("b",))
    write_structures(tmp_path, Structures(names={}, parenchyma=(), maker=maker))
    assert json.loads((tmp_path / "anatomy.json").read_text())["made_by"]["method"] == written
    found = read_structures(tmp_path).maker
    assert found == maker
    assert found.known is ("unknown" not in methods)


def test_given_maps_must_be_there_and_on_the_grid(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=3)
    maps = tmp_path / "maps"
    label, affine = read_label(cohort.cases[0].label)
    write_array(maps / "case_000.nii.gz", np.where(label > 0, 17, 2), affine)
    write_array(maps / "case_001.nii.gz", np.full((4, 4, 4), 2), affine)
    scans = [load_scan(case, cohort.channels) for case in cohort]
    names = FREESURFER_STRUCTURES.names
    grouped = given_anatomy(scans[0], folder=maps, group=True)
    assert np.array_equal(grouped == names["left hippocampus"], label > 0)
    assert set(np.unique(given_anatomy(scans[0], folder=maps, group=False))) == {2, 17}
    with pytest.raises(CohortError, match=r"case_001\.nii\.gz: is not on the grid of the scan case_001"):
        given_anatomy(scans[1], folder=maps, group=False)
    with pytest.raises(CohortError, match=r"case_002\.nii\.gz: there is no anatomy map"):
        given_anatomy(scans[2], folder=maps, group=False)
    moved = replace(scans[0], affine=scans[0].affine + np.diag([0.5, 0, 0, 0]))
    with pytest.raises(CohortError, match="is not on the grid"):
        given_anatomy(moved, folder=maps, group=False)
