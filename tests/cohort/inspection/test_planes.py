from dataclasses import replace

import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from lesionforge.cohort.inspection.planes import key_plane, planes_through
from lesionforge.cohort.scan import load_scan
from tests.helpers import tiny_cohort


@pytest.fixture
def scan(tmp_path):
    (case,) = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=1, affine=np.diag([2.0, 3.0, 5.0, 1.0])).cases
    return load_scan(case, ["FLAIR"])


def test_three_planes_meet_in_the_largest_lesion(scan):
    lesion = np.zeros_like(scan.label)
    lesion[2:4, 3:5, 1:3] = 1
    lesion[10:19, 8:13, 5:8] = 2
    planes = planes_through(scan, lesion)
    assert [(plane.name, plane.index) for plane in planes] == [("axial", 6), ("coronal", 10), ("sagittal", 14)]
    assert [plane.cut(lesion).shape for plane in planes] == [(32, 32), (16, 32), (16, 32)]
    assert [plane.aspect for plane in planes] == pytest.approx([3 / 2, 5 / 2, 5 / 3])
    assert [np.count_nonzero(plane.cut(lesion)) for plane in planes] == [9 * 5, 9 * 3, 5 * 3]


def test_planes_go_through_a_lesion_that_is_hollow_in_its_middle(scan):
    lesion = np.zeros_like(scan.label)
    lesion[8:20, 8:20, 4:11] = 1
    lesion[9:19, 9:19, 5:10] = 0
    assert all(plane.cut(lesion).any() for plane in planes_through(scan, lesion))


def test_front_and_head_are_up_and_right_is_right(scan):
    corner = np.zeros_like(scan.label)
    corner[-4:, -4:, -4:] = 1
    for plane in (*planes_through(scan, corner), key_plane(replace(scan, label=corner))):
        picture = plane.cut(corner)
        assert picture[:4, -4:].all()
        assert picture.sum() == 16


def test_how_the_axes_are_stored_does_not_matter(scan):
    lesion = np.zeros_like(scan.label)
    lesion[3:9, 20:29, 2:6] = 1
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("SLP"))
    stored = lesion.transpose(2, 0, 1)[:, ::-1, ::-1]
    image = scan.image.transpose(0, 3, 1, 2)[:, :, ::-1, ::-1]
    turned = replace(scan, image=image, label=stored, affine=scan.affine @ inv_ornt_aff(turn, lesion.shape))
    for ours, theirs in zip(planes_through(scan, lesion), planes_through(turned, stored), strict=True):
        assert (ours.name, ours.aspect) == (theirs.name, pytest.approx(theirs.aspect))
        assert np.array_equal(ours.cut(lesion), theirs.cut(stored))
        assert np.array_equal(ours.cut(scan.image[0]), theirs.cut(image[0]))


def test_a_slice_is_its_own_plane(tmp_path):
    (case,) = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1).cases
    scan = load_scan(case, ["FLAIR"])
    for plane in (*planes_through(scan, scan.label), key_plane(scan)):
        assert (plane.name, plane.aspect) == ("slice", 1)
        assert np.array_equal(plane.cut(scan.label), scan.label)
