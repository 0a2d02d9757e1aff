"""Labels and images lie where their image lies, in every reader: nibabel and ITK are asked."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.inspection.checks import check_cohort
from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.scan import load_scan, read_image, save_edited, save_image, save_label
from lesionforge.errors import CohortError
from tests.helpers import tiny_cohort

SHAPE = (5, 6, 4)
STRAIGHT = np.array([[-3.0, 0, 0, 40], [0, 3, 0, -20], [0, 0, 6, 7], [0, 0, 0, 1]])
TURNED = np.array([[2.9, -0.6, 0.3, 40], [0.6, 2.9, 0.4, -20], [-0.2, -0.2, 5.9, 7], [0, 0, 0, 1]])
SHEARED = STRAIGHT + np.array([[0, 0.12, 0, 0], [-0.02, 0, 0, 0], [0, 0.05, 0, 0], [0, 0, 0, 0]])
MIRRORED = STRAIGHT @ np.diag([-1, 1, 1, 1.0])


def header_of(sform=None, qform=None, codes=(0, 0), spacing=(3, 3, 6), unit="unknown"):
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_zooms(spacing)
    header.set_xyzt_units(unit)
    if qform is not None:
        header.set_qform(qform, codes[0])
    if sform is not None:
        header.set_sform(sform, codes[1])
    return header


def _rigid(affine):
    u, _, v = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    result = affine.copy()
    result[:3, :3] = u @ v * np.linalg.norm(affine[:3, :3], axis=0)
    return result


GEOMETRIES = {
    "both": header_of(STRAIGHT, STRAIGHT, (1, 1), unit="mm"),
    "turned": header_of(_rigid(TURNED), _rigid(TURNED), (1, 1)),
    "sform only": header_of(_rigid(TURNED), None, (0, 2)),
    "qform only": header_of(None, _rigid(TURNED), (1, 0)),
    "no code": header_of(spacing=(3, 3, 6)),
    "sheared sform, rigid qform": header_of(SHEARED, STRAIGHT, (1, 2)),
    "forms that differ": header_of(MIRRORED, STRAIGHT, (1, 1)),
    "MNI": header_of(STRAIGHT, STRAIGHT, (4, 4), unit="mm"),
    "metres": header_of(np.diag([1e-3, 1e-3, 1e-3, 1]) @ STRAIGHT, None, (0, 2), unit="meter"),
    "micrometres": header_of(np.diag([1e3, 1e3, 1e3, 1]) @ STRAIGHT, None, (0, 1), unit="micron"),
}
GEOMETRY = pytest.mark.parametrize("name", GEOMETRIES)


def write(path, array, header, kind=nib.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = header.copy()
    header.set_data_dtype(array.dtype)
    nib.save(kind(array, None, header), path)
    return path


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(1, 900, SHAPE).astype(np.int16)


def places(path):
    """Return the geometry of a file as nibabel and ITK see it, and what its header says of it."""
    header = nib.load(path).header
    image = SimpleITK.ReadImage(str(path))
    itk = (image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    said = {name: header[name].tolist() for name in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")}
    said |= {
        name: header[name].tolist() for name in ("srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z")
    }
    return said, header["pixdim"][:4].tolist(), header.get_xyzt_units()[0], nib.load(path).affine.tolist(), itk


@GEOMETRY
@pytest.mark.parametrize("how", ["label", "image", "edited"])
def test_what_is_made_of_an_image_lies_where_it_lies(tmp_path, voxels, name, how):
    source = write(tmp_path / "a.nii.gz", voxels, GEOMETRIES[name])
    before, target = places(source), tmp_path / "b.nii.gz"
    values, _ = read_image(source)
    if how == "label":
        save_label(target, (voxels > 500).astype(np.int16), source)
    elif how == "image":
        save_image(target, values, source)
    else:
        save_edited(source, target, values + 1, voxels > 500)
    assert places(target) == before


@GEOMETRY
def test_an_imported_case_lies_where_its_image_lies_even_if_its_label_has_a_header_of_its_own(tmp_path, voxels, name):
    header = GEOMETRIES[name]
    image = write(tmp_path / "a" / "image.nii.gz", voxels, header)
    label = tmp_path / "a" / "label.nii.gz"
    affine = read_image(image)[1]
    nib.save(nib.Nifti1Image((voxels > 500).astype(np.float32), affine), label)
    images = {"T1": image, "ADC": image}
    case = Case(case_id="p", subject_id="p", images=images, annotation=Annotation.LESION, label=label)
    labels = {"background": 0, "lesion": 1}
    made = write_nnunet(Cohort(name="A", channels=tuple(images), labels=labels, cases=(case,)), tmp_path / "b")
    assert made.converted == ("p",)
    written = [*(tmp_path / "b" / "labelsTr").iterdir(), *(tmp_path / "b" / "imagesTr").iterdir()]
    assert [places(path) for path in written] == [places(image)] * 3


def test_a_zero_filled_channel_lies_where_the_others_lie(tmp_path, voxels):
    image = write(tmp_path / "a.nii.gz", voxels, GEOMETRIES["forms that differ"])
    case = Case(case_id="p", subject_id="p", images={"T1": image}, annotation=Annotation.LESION_FREE)
    cohort = Cohort(name="A", channels=("FLAIR", "T1"), labels={"background": 0, "lesion": 1}, cases=(case,))
    write_nnunet(cohort, tmp_path / "b", missing="zero_fill")
    assert places(tmp_path / "b" / "imagesTr" / "p_0000.nii.gz") == places(image)
    assert places(tmp_path / "b" / "labelsTr" / "p.nii.gz") == places(image)


@pytest.mark.parametrize(
    ("name", "affine"),
    [
        ("both", STRAIGHT),
        ("forms that differ", MIRRORED),
        ("sheared sform, rigid qform", SHEARED),
        ("qform only", _rigid(TURNED)),
        ("metres", STRAIGHT),
        ("micrometres", STRAIGHT),
        ("no code", header_of().get_base_affine()),
    ],
)
def test_the_sform_counts_then_the_qform_then_the_spacing_in_millimetres(tmp_path, voxels, name, affine):
    found = read_image(write(tmp_path / "a.nii.gz", voxels, GEOMETRIES[name]))[1]
    np.testing.assert_allclose(found, affine, atol=1e-4)


FLAT = STRAIGHT @ np.diag([1, 1, 0, 1.0])
PARALLEL = STRAIGHT[:, [0, 0, 2, 3]]


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (FLAT, "sform is singular"),
        (PARALLEL, "sform is singular"),
        (np.where(STRAIGHT == 40, np.nan, STRAIGHT), "sform is not finite"),
        (np.where(STRAIGHT == 6, np.inf, STRAIGHT), "sform is not finite"),
        (STRAIGHT * 1e9, "mm wide"),
        (np.diag([1e-9, 1e-9, 1e-9, 1]), "mm wide"),
    ],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_place_that_cannot_be_is_refused(tmp_path, voxels, affine, message, kind, recwarn):
    header = kind.header_class()
    header.set_data_shape(SHAPE)
    header.set_sform(affine, 1)
    with pytest.raises(CohortError, match=message) as caught:
        read_image(write(tmp_path / "a.nii.gz", voxels, header, kind))
    assert "\n" not in str(caught.value)
    assert not recwarn.list


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.0])
def test_grids_are_the_same_within_a_tenth_of_a_voxel(scale):
    affine = np.diag([scale, scale, 2 * scale, 1])
    rounded, shifted, mirrored = affine.copy(), affine.copy(), affine.copy()
    rounded[:3, :3] += 1e-6 * scale
    rounded[0, 3] += 0.003 * scale
    shifted[1, 3] += 0.5 * scale
    mirrored[0, 0] *= -1
    mirrored[0, 3] = (SHAPE[0] - 1) * scale
    assert same_grid(SHAPE, affine, rounded)
    assert not same_grid(SHAPE, affine, shifted)
    assert not same_grid(SHAPE, affine, mirrored)


def test_a_mirrored_mask_of_small_voxels_is_refused(tmp_path, voxels):
    """Voxels of 3 µm: the corners lie less than a hundredth of a millimetre apart."""
    image = write(tmp_path / "a.nii.gz", voxels, header_of(STRAIGHT * 1e-3, None, (0, 1)))
    mask = write(tmp_path / "b.nii.gz", (voxels > 500).astype(np.uint8), header_of(MIRRORED * 1e-3, None, (0, 1)))
    case = Case(case_id="p", subject_id="p", images={"T1": image}, annotation=Annotation.LESION, label=mask)
    with pytest.raises(CohortError, match="affine differs"):
        load_scan(case, ["T1"])
    assert load_scan(replace(case, label=None, annotation=Annotation.UNKNOWN), ["T1"]).spacing[0] == pytest.approx(3e-3)


def test_a_grid_that_is_made_here_is_the_same_in_both_forms(tmp_path, voxels):
    for number, affine in enumerate((STRAIGHT, _rigid(TURNED), np.diag([1.1, 1.4, 3.9, 1]))):
        path = tmp_path / f"{number}.nii.gz"
        save_image(path, voxels, affine)
        header = nib.load(path).header
        np.testing.assert_allclose(header.get_sform(), affine, atol=1e-4)
        np.testing.assert_allclose(header.get_qform(), affine, atol=1e-4)
        assert header.get_xyzt_units()[0] == "mm"
        image = SimpleITK.ReadImage(str(path))
        corner = np.array(image.TransformIndexToPhysicalPoint((4, 5, 3))) * [-1, -1, 1]
        np.testing.assert_allclose(corner, (affine @ [4, 5, 3, 1])[:3], atol=1e-3)
    save_image(tmp_path / "s.nii.gz", voxels, SHEARED)
    assert nib.load(tmp_path / "s.nii.gz").header["qform_code"] == 0
    np.testing.assert_allclose(nib.load(tmp_path / "s.nii.gz").affine, SHEARED, atol=1e-5)


@pytest.mark.parametrize(("moved", "told"), [(0.0, False), (0.1, False), (4.0, True)])
def test_forms_that_disagree_are_told_once_for_all_cases(tmp_path, moved, told):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=3)
    for case in cohort.cases[:2]:
        path = case.images[cohort.channels[0]]
        image = nib.load(path)
        affine = image.affine.copy()
        image.set_sform(affine, 1)
        affine[0, 3] += moved
        image.set_qform(affine, 1)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    found = [str(warning) for warning in check_cohort(cohort).warnings if "sform" in str(warning)]
    assert len(found) == told
    if told:
        assert "2 cases (case_000, case_001) put voxels up to 4 mm apart" in found[0]


def test_what_is_made_of_nifti_2_can_be_read_by_itk_which_cannot_read_that(tmp_path, voxels):
    old, new = nib.Nifti1Image(voxels, _rigid(TURNED)), nib.Nifti2Image(voxels, _rigid(TURNED))
    nib.save(old, tmp_path / "old.nii.gz")
    nib.save(new, tmp_path / "new.nii.gz")
    save_label(tmp_path / "label.nii.gz", (voxels > 500).astype(np.int16), tmp_path / "new.nii.gz")
    assert places(tmp_path / "label.nii.gz")[3:] == places(tmp_path / "old.nii.gz")[3:]
