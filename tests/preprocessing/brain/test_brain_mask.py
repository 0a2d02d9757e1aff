"""The brain is found, eyes, skull and scalp are not: on made heads, and on real ones where they are at hand."""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.scan import read_image, read_label
from lesionforge.preprocessing.brain.brain_mask import _depth, _near, brain_region, thickest_last

both = pytest.mark.parametrize("spatial_dims", [2, 3])
DATA = Path(os.environ.get("LESIONFORGE_DATA", "/nonexistent"))


@dataclass
class Head:
    image: np.ndarray
    brain: np.ndarray
    eyes: np.ndarray
    lesion: np.ndarray
    spacing: tuple


def ellipsoid(grid, centre, radii):
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=False)) <= 1


def make_head(spatial_dims, *, kind="mr", seed=0, lesion_level=1.7, wall_voxels=3):
    """Return a head of 150 × 190 mm: scalp, skull, brain with ventricles and a lesion, two eyes in front of it."""
    spacing = (2.0, 2.0, 6.0)[:spatial_dims]
    shape = (100, 116, 26)[:spatial_dims]
    grid = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    grid = list(np.meshgrid(*grid, indexing="ij"))
    middle = (0.0, -4.0, 0.0)
    scalp = ellipsoid(grid, middle, (76, 96, 82))
    skull = ellipsoid(grid, middle, (70, 90, 76))
    brain = ellipsoid(grid, middle, (63, 83, 69))
    lesion = ellipsoid(grid, (30, -10, 10), (18, 18, 18)) & brain
    ventricle = ellipsoid(grid, (-12, 0, 0), (6, 18, 18))
    level = -30.0 if spatial_dims == 3 else 0.0
    sockets = np.zeros(shape, bool)
    eyes = np.zeros(shape, bool)
    for side in (-1, 1):
        sockets |= ellipsoid(grid, (side * 32, 74, level), (19, 19, 19))
        eyes |= ellipsoid(grid, (side * 32, 74, level), (13, 13, 13))
    wall = ndimage.binary_dilation(sockets, iterations=wall_voxels)
    brain &= ~wall
    bone, fat, tissue, fluid = (255, 30, 100, 40) if kind == "ct" else (12, 210, 100, 25)
    image = np.zeros(shape)
    image[scalp] = 110 if kind == "ct" else fat
    image[skull | (wall & scalp)] = bone
    image[brain] = tissue
    image[brain & ventricle] = fluid
    image[brain & lesion] = min(lesion_level * tissue, 190)
    image[sockets] = fat
    image[eyes] = fluid
    rng = np.random.default_rng(seed)
    noisy = np.clip(ndimage.gaussian_filter(image, 0.4) + rng.normal(0, 3, shape), 0, 255)
    if kind == "stripped":
        noisy = np.where(brain, noisy, 0)
    return Head(np.rint(noisy).astype(np.float32), brain, sockets, lesion & brain, spacing)


@both
@pytest.mark.parametrize("kind", ["mr", "ct", "stripped"])
def test_brain_without_eyes_skull_and_scalp(kind, spatial_dims):
    head = make_head(spatial_dims, kind=kind)
    region = brain_region(head.image, head.spacing)
    assert region.shape == head.image.shape
    assert region.dtype == np.bool_
    assert region[head.brain].mean() > 0.8
    assert region[head.lesion].mean() > 0.97
    assert not region[head.eyes].any()
    assert (region & ~ndimage.binary_dilation(head.brain, iterations=2)).sum() < 0.02 * region.sum()


def test_orbits_behind_thin_bone_are_left_out():
    head = make_head(3, wall_voxels=1)
    region = brain_region(head.image, head.spacing)
    assert region[head.eyes].mean() < 0.02
    assert region[head.brain].mean() > 0.8
    assert region[head.lesion].mean() > 0.97


def test_the_scalp_near_the_vertex_is_left_out_even_if_it_is_as_bright_as_brain():
    head = make_head(3)
    slices = range(head.image.shape[-1])
    filled = np.stack([ndimage.binary_fill_holes(head.image[..., k] > 60) for k in slices], axis=-1)
    top = (np.arange(len(slices)) - (len(slices) - 1) / 2) * head.spacing[-1] > 42
    wall = np.random.default_rng(1).normal(95, 3, head.image.shape)
    image = np.where(filled & ~head.brain & top, wall, head.image).astype(np.float32)
    region = brain_region(image, head.spacing) & top
    assert region[head.brain & top].mean() > 0.8
    assert (region & ~ndimage.binary_dilation(head.brain)).sum() < 0.02 * region.sum()


def test_a_lone_slice_of_face_and_neck_has_no_brain():
    head = make_head(2)
    rng = np.random.default_rng(1)
    texture = ndimage.zoom(rng.choice([5, 60, 100, 210], size=(20, 24)), (5, 116 / 24), order=0)
    face = np.where(head.image > 60, texture, head.image).astype(np.float32)
    assert not brain_region(face, head.spacing).any()


@both
@pytest.mark.parametrize("level", [0.3, 0.7, 1.9])
def test_dark_and_bright_lesions_are_brain(spatial_dims, level):
    head = make_head(spatial_dims, lesion_level=level)
    assert brain_region(head.image, head.spacing)[head.lesion].mean() > 0.97


@both
def test_brightness_and_direction_of_the_scan_do_not_matter(spatial_dims):
    head = make_head(spatial_dims)
    region = brain_region(head.image, head.spacing)
    assert np.array_equal(brain_region(head.image * np.float32(7), head.spacing), region)
    flipped = brain_region(np.flip(head.image, -1), head.spacing)
    assert np.mean(np.flip(flipped, -1) == region) > 0.97


def test_slices_may_lie_along_any_axis():
    head = make_head(3)
    region = brain_region(head.image, head.spacing)
    turned = brain_region(np.moveaxis(head.image, -1, 0), (6.0, 2.0, 2.0))
    assert np.array_equal(np.moveaxis(turned, 0, -1), region)


def test_fine_in_plane_grids_give_the_same_brain():
    head = make_head(2)
    fine = head.image.repeat(3, axis=0).repeat(3, axis=1)
    region = brain_region(fine, (0.7, 0.7))
    assert region.shape == fine.shape
    coarse = brain_region(head.image, head.spacing)
    assert np.mean(region[1::3, 1::3] == coarse) > 0.97


def test_hounsfield_units():
    head = make_head(3, kind="ct")
    units = np.where(head.image > 250, 900, np.where(head.image < 10, -1000, head.image * 0.35))
    region = brain_region(units.astype(np.float32), head.spacing)
    assert region[head.brain].mean() > 0.8
    assert not region[head.eyes].any()


@both
def test_nothing_is_found_in_air_and_noise(spatial_dims):
    shape = (64, 64, 20)[:spatial_dims]
    noise = np.abs(np.random.default_rng(0).normal(0, 4, shape)).astype(np.float32)
    spacing = (2.0, 2.0, 5.0)[:spatial_dims]
    assert not brain_region(noise, spacing).any()
    assert not brain_region(np.zeros(shape, np.float32), spacing).any()
    assert not brain_region(np.full(shape, 7, np.float32), spacing).any()


def test_the_widest_spacing_is_across_slices():
    assert thickest_last((1.0, 1.0, 5.0)) == 2
    assert thickest_last((5.0, 1.0, 1.0)) == 0
    assert thickest_last((1.0, 1.0, 1.0)) == 2


@pytest.mark.skipif(not (DATA / "lgg-tumour-mri").is_dir(), reason="LESIONFORGE_DATA names no folder with real scans")
def test_real_tumours_lie_in_the_region():
    folder = DATA / "lgg-tumour-mri"
    pool = json.loads((folder / "roles.json").read_text())["pool"]
    with (folder / "cases.csv").open() as file:
        cases = [row["case_id"] for row in csv.DictReader(file) if row["subject_id"] in pool][::3]
    inside, volumes = [], []
    for case_id in cases:
        image, affine = read_image(folder / "imagesTr" / f"{case_id}_0001.nii.gz")
        label, _ = read_label(folder / "labelsTr" / f"{case_id}.nii.gz")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        region = brain_region(image, tuple(spacing))
        inside.append(region[label > 0].mean())
        volumes.append(region.sum() * np.prod(spacing) / 1e6)
    assert np.mean(inside) > 0.96
    assert max(volumes) < 3


@pytest.mark.parametrize("mm", [0.7, 1.5])
def test_distances_in_a_box_are_those_in_the_whole_slice(mm):
    rng = np.random.default_rng(0)
    masks = [rng.random((31, 24)) > 0.9, np.zeros((9, 7), bool), np.ones((9, 7), bool), np.eye(12, 17, 5, bool)]
    masks.append(ndimage.binary_dilation(masks[-1], iterations=3))
    for mask in masks:
        whole = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=mm)[1:-1, 1:-1]
        assert np.array_equal(_depth(mask, mm), whole.astype(np.float32))
        if mask.any():
            far = ndimage.distance_transform_edt(~mask, sampling=mm)
            assert all(np.array_equal(_near(mask, near, mm), far < near) for near in (0.5, mm, 2.5, 4.2, 60))
        assert _near(mask, 3, mm).any() == mask.any()
