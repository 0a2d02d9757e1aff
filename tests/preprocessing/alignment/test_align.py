import csv
import json
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.cohort.structures import Structures, read_structures, write_structures
from lesionforge.errors import CohortError, ConfigError, OutputError
from lesionforge.preprocessing.alignment.align import Aligner, align_cohort
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import mni_brain, mni_t1
from tests.helpers import NESTED, tiny_cohort, write_array

SIZE, DROP = (48, 56, 40), 4
CENTRE_MM = np.array([-30.0, -20, 20])


def aligner(**options):
    return Aligner(**{"size": SIZE, "drop": DROP, "background": "none", "registration": "moments", **options})


def moved(*, degrees=0.0, scale=1.0, shift=(0, 0, 0)):
    """Return the affine of a head that lies, and is as large, as told; it turns about the left-right axis."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix() * scale
    matrix[:3, 3] = shift
    return matrix @ mni_brain()[1]


def template_head(folder, affine, *, anatomy=False):
    """Write a cohort of one case whose scan is the template's brain with a ball as lesion; return the folder."""
    brain, mni = mni_brain()
    cohort = tiny_cohort(folder, spatial_dims=3, n_subjects=1, shape=brain.shape, affine=affine)
    places = np.einsum("ij,jxyz->ixyz", mni[:3, :3], np.indices(brain.shape)) + mni[:3, 3].reshape(3, 1, 1, 1)
    lesion = np.linalg.norm(places - CENTRE_MM.reshape(3, 1, 1, 1), axis=0) < 12
    write_array(cohort.cases[0].images["FLAIR"], 200 * mni_t1() / mni_t1().max() + 50 * lesion, affine)
    write_array(cohort.cases[0].label, lesion.astype(np.uint8), affine)
    if anatomy:
        write_array(folder / "anatomyTr" / "case_000.nii.gz", (brain + 1 * lesion).astype(np.uint8), affine)
    return folder


def align(folder, out, **options):
    return align_cohort(folder, out, **{"size": SIZE, "drop": DROP, **options})


def table(out):
    with (out / "alignment.csv").open() as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("move", "least"),
    [({}, 0.97), ({"scale": 0.8, "shift": (30, -60, 45)}, 0.97), ({"degrees": 12, "shift": (9, 9, 9)}, 0.9)],
    ids=["template", "smaller, elsewhere", "turned"],
)
def test_a_head_that_was_moved_comes_back_with_its_lesion(tmp_path, move, least):
    folder = template_head(tmp_path / "c", moved(**move))
    report = align(folder, tmp_path / "out")
    row = table(tmp_path / "out")["case_000"]
    assert float(row["brain_dice"]) > least
    assert float(row["lesion_inside"]) > 0.99
    assert report.poor == {}
    label, affine = read_label(tmp_path / "out/labelsTr/case_000.nii.gz")
    centre = affine[:3, :3] @ np.argwhere(label).mean(0) + affine[:3, 3]
    assert centre == pytest.approx(CENTRE_MM, abs=4 if "degrees" not in move else 10)
    before, old = read_label(folder / "labelsTr/case_000.nii.gz")
    volume = np.count_nonzero(before) * np.linalg.det(old) / move.get("scale", 1) ** 3
    assert np.count_nonzero(label) * np.linalg.det(affine) == pytest.approx(volume, rel=0.05)


def test_all_cases_lie_on_one_grid_without_its_ends(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=2, channels=("FLAIR", "T1"), anatomy=True)
    written = align(tmp_path / "c", tmp_path / "out").written.cohort
    whole = TemplateGrid.covering(SIZE)
    for case in written:
        scan = load_scan(case, cohort.channels)
        assert scan.spatial_shape == (48, 56, 32)
        assert np.allclose(scan.affine[:3, :3], whole.affine[:3, :3])
        assert scan.affine[:3, 3] == pytest.approx(whole.affine[:3, 3] + [0, 0, DROP * whole.spacing[2]], abs=1e-4)
        assert set(np.unique(scan.anatomy)) == {0, 1, 2}
        assert scan.image.dtype == np.float32


def test_everything_beside_the_files_is_kept(tmp_path):
    options = {"n_subjects": 4, "n_healthy": 1, "n_unknown": 1, "channels": ("FLAIR", "T1"), "labels": NESTED}
    folder = tmp_path / "c"
    cohort = tiny_cohort(folder, spatial_dims=3, anatomy=True, missing={"case_001": ["T1"]}, **options)
    rows = (folder / "cases.csv").read_text().splitlines()
    with_centre = [rows[0] + ",centre", *(f"{row},north" for row in rows[1:])]
    (folder / "cases.csv").write_text("\n".join(with_centre) + "\n")
    (folder / "roles.json").write_text(json.dumps({"pool": ["sub_00"]}))
    structures = Structures(names={"rim": 1, "inside": 2}, parenchyma=(2,))
    write_structures(folder, structures)
    report = align(folder, tmp_path / "out", columns=["centre"]).written
    written = report.cohort
    assert report.dropped_columns == ()
    assert [(case.case_id, case.subject_id, case.annotation) for case in written] == [
        (case.case_id, case.subject_id, case.annotation) for case in cohort
    ]
    assert {case.extra["centre"] for case in written} == {"north"}
    assert "T1" not in written["case_001"].images
    assert written.labels == NESTED
    assert read_structures(tmp_path / "out") == structures
    assert json.loads((tmp_path / "out/roles.json").read_text()) == {"pool": ["sub_00"]}
    assert table(tmp_path / "out")["case_002"]["lesion_inside"] == ""


def test_what_lies_in_parenchyma_counts_where_it_is_known(tmp_path):
    """The lesion has a value of its own in the anatomy map; only the rest is said to be parenchyma."""
    folder = template_head(tmp_path / "c", moved(), anatomy=True)
    align(folder, tmp_path / "all")
    write_structures(folder, Structures(names={"brain": 1, "lesion": 2}, parenchyma=(1,)))
    align(folder, tmp_path / "none")
    assert float(table(tmp_path / "all")["case_000"]["lesion_inside"]) > 0.99
    assert float(table(tmp_path / "none")["case_000"]["lesion_inside"]) < 0.3
    assert float(table(tmp_path / "none")["case_000"]["brain_dice"]) > 0.95


def test_no_lesion_is_lost_because_it_is_small(tmp_path):
    """A lesion of one voxel beside a large one, on a grid whose voxels are many times as large."""
    folder = template_head(tmp_path / "c", moved())
    file = folder / "labelsTr/case_000.nii.gz"
    label, affine = read_label(file)
    speck = np.rint(np.linalg.inv(affine) @ [35, -20, 20, 1])[:3].astype(int)
    label[tuple(speck)] = 1
    write_array(file, label.astype(np.uint8), affine)
    align(folder, tmp_path / "out", size=(24, 28, 20), drop=2)
    after, affine = read_label(tmp_path / "out/labelsTr/case_000.nii.gz")
    places = np.argwhere(after) @ affine[:3, :3].T + affine[:3, 3]
    assert (places[:, 0] > 0).sum() == 1
    assert places[places[:, 0] > 0][0] == pytest.approx([35, -20, 20], abs=6)


def test_the_background_is_cut_at_an_intensity(tmp_path):
    scan = load_scan(read_cohort(template_head(tmp_path / "c", moved())).cases[0], ["FLAIR"])
    plain, cut = aligner().align(scan).image, aligner(background=100).align(scan).image
    assert ((plain > 0) & (plain < 100)).any()
    assert np.array_equal(cut, np.where(plain < 100, 0, plain))
    with pytest.raises(CohortError, match=r"no intensity of channel FLAIR reaches the background cut of 900"):
        aligner(background=900).align(scan)


def test_auto_cuts_8_bit_scans_above_the_air_and_others_where_the_paper_does(tmp_path):
    scan = load_scan(read_cohort(template_head(tmp_path / "c", moved())).cases[0], ["FLAIR"])
    noisy = replace(scan, image=np.maximum(scan.image, 9))
    noisy = replace(noisy, region=scan.image[0] > 20)
    eight_bit, other = aligner(background="auto").align(noisy), noisy.image * np.float32(4)
    assert eight_bit.image[eight_bit.image > 0].min() > 9
    assert (eight_bit.image == 0).mean() > 0.2
    bright = aligner(background="auto").align(replace(noisy, image=other)).image
    plain = aligner().align(replace(noisy, image=other)).image
    assert np.array_equal(bright, np.where(plain < 35, 0, plain))


def test_a_bad_case_is_left_out_and_the_others_go_on(tmp_path):
    folder = tmp_path / "c"
    cohort = tiny_cohort(folder, spatial_dims=3, n_subjects=4)
    cohort.cases[0].images["FLAIR"].write_bytes(b"no image")
    label, affine = read_label(cohort.cases[1].label)
    ends = np.zeros_like(label)
    ends[12:20, 12:20, 1] = 1
    write_array(cohort.cases[1].label, ends.astype(np.uint8), affine)
    nib.save(nib.Nifti1Image(np.full(label.shape, 7, np.int16), affine), cohort.cases[2].images["FLAIR"])
    report = align(folder, tmp_path / "out", drop=12)
    assert [case.case_id for case in report.written.cohort] == ["case_003"]
    told = (tmp_path / "out/problems.csv").read_text()
    assert "cannot be read" in told
    assert "its lesions lie outside the slices that are kept" in told
    assert "no brain was found" in told
    assert list(table(tmp_path / "out")) == ["case_003"]


def test_what_does_not_fit_the_template_is_named(tmp_path):
    """Two balls far apart have the brain's moments, not its shape."""
    folder = template_head(tmp_path / "c", moved(), anatomy=True)
    file = folder / "anatomyTr/case_000.nii.gz"
    anatomy, affine = read_label(file)
    apart = np.zeros_like(anatomy)
    apart[30:70, 20:35, 30:60] = apart[30:70, 85:100, 30:60] = 1
    write_array(file, apart.astype(np.uint8), affine)
    report = align(folder, tmp_path / "out")
    assert list(report.poor) == ["case_000"]
    assert report.poor["case_000"] < 0.8


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"size": (48, 56)}, "is not the size of a volume"),
        ({"size": (48, 0, 40)}, "is not the size of a volume"),
        ({"drop": 20}, "leaves none"),
        ({"drop": -1}, "leaves none"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, what):
    with pytest.raises(ConfigError, match=what):
        aligner(**options)


def test_slices_and_full_folders_are_refused_and_nothing_is_left_behind(tmp_path):
    tiny_cohort(tmp_path / "slices", spatial_dims=2, n_subjects=1)
    with pytest.raises(CohortError, match="is a cohort of slices"):
        align(tmp_path / "slices", tmp_path / "out")
    tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=1)
    with pytest.raises(OutputError):
        align(tmp_path / "c", tmp_path / "slices")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "slices"]


def test_without_antspyx_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ants", None)
    with pytest.raises(
        ConfigError, match=r"`registration=ants`: needs the package antspyx.*lesionforge\[registration\]"
    ):
        aligner(registration="ants")


def test_ants_turns_a_head_back_the_same_way_each_time(tmp_path):
    pytest.importorskip("ants")
    scan = load_scan(read_cohort(template_head(tmp_path / "c", moved(degrees=12, shift=(9, 9, 9)))).cases[0], ["FLAIR"])
    grid = TemplateGrid.covering(SIZE)
    found = aligner(registration="ants").to_template(scan, grid)
    assert np.array_equal(found, aligner(registration="ants").to_template(scan, grid))
    expected = mni_brain()[1] @ np.linalg.inv(scan.affine)
    corners = np.array(np.meshgrid([-60, 60], [-90, 60], [-50, 60], [1])).reshape(4, -1)
    points = np.linalg.inv(expected) @ corners
    by_ants, by_moments = (
        np.linalg.norm((m @ points - corners)[:3], axis=0).max() for m in (found, grid.from_scan(scan))
    )
    assert by_ants < 3
    assert by_ants < by_moments
