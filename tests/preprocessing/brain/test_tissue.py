from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.scan import Scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.brain.tissue import tissue_classes, tissue_structures

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
LEVELS = np.array([0.0, 40.0, 90.0, 130.0])


def layered(spatial_dims, *, noise=3.0, seed=0, channels=1):
    """Return a scan of three tissues in layers, with air around, and the true classes."""
    shape = {2: (48, 40), 3: (24, 20, 18)}[spatial_dims]
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.int16)
    inside = tuple(slice(3, n - 3) for n in shape)
    truth[inside] = 1 + np.arange(shape[0])[3:-3].reshape(-1, *[1] * (spatial_dims - 1)) * 3 // shape[0]
    image = np.stack([LEVELS[truth] * (1 + c) + rng.normal(0, noise, shape) for c in range(channels)])
    case = Case(case_id="c", subject_id="s", images={"FLAIR": Path("x")}, annotation=Annotation.LESION_FREE)
    scan = Scan(
        case=case,
        channels=("FLAIR",),
        image=image.astype(np.float32),
        label=np.zeros(shape, np.int16),
        affine=np.eye(4),
        region=truth > 0,
    )
    return scan, truth


@BOTH
@pytest.mark.parametrize("channels", [1, 2])
def test_tissues_are_found_and_numbered_from_dark_to_bright(spatial_dims, channels):
    scan, truth = layered(spatial_dims, channels=channels)
    found = tissue_classes(scan, classes=3)
    assert found.dtype == np.int16
    assert np.mean(found == truth) > 0.99
    assert not found[truth == 0].any()


@BOTH
def test_lesions_do_not_move_the_classes(spatial_dims):
    scan, truth = layered(spatial_dims)
    label = np.zeros_like(scan.label)
    label[tuple(slice(8, 14) for _ in label.shape)] = 1
    image = scan.image.copy()
    image[0][label > 0] = 400
    found = tissue_classes(replace(scan, image=image, label=label), classes=3)
    assert np.mean((found == truth)[label == 0]) > 0.99
    assert set(np.unique(found[label > 0])) == {3}


@BOTH
def test_the_seed_alone_decides(spatial_dims):
    scan, _ = layered(spatial_dims, noise=25)
    first = tissue_classes(scan, classes=4, seed=1)
    np.random.seed(3)  # noqa: NPY002
    assert np.array_equal(first, tissue_classes(scan, classes=4, seed=1))


def test_the_brain_is_found_where_no_region_is_given():
    scan, _ = layered(2)
    found = tissue_classes(replace(scan, region=None), classes=2)
    assert 0.3 < np.mean(found > 0) < 0.95


def test_a_scan_without_enough_tissue_is_refused():
    scan, _ = layered(2)
    with pytest.raises(CohortError, match="has no brain with 3 tissues"):
        tissue_classes(replace(scan, region=np.zeros_like(scan.region)), classes=3)
    with pytest.raises(CohortError, match="has no brain with 3 tissues"):
        tissue_classes(replace(scan, image=np.ones_like(scan.image)), classes=3)


@pytest.mark.parametrize(("fluid", "parenchyma"), [("darkest", (2, 3)), ("brightest", (1, 2)), ("none", (1, 2, 3))])
def test_all_but_the_fluid_is_parenchyma(fluid, parenchyma):
    structures = tissue_structures(3, fluid)
    assert structures.parenchyma == parenchyma
    assert sorted(structures.names.values()) == [1, 2, 3]
    assert ("fluid" in structures.names) == (fluid != "none")
