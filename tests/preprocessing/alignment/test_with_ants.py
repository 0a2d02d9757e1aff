import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.alignment.with_ants import atropos_classes
from tests.preprocessing.brain.test_tissue import BOTH, layered


def test_without_antspyx_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ants", None)
    with pytest.raises(ConfigError, match=r"`atropos`: needs the package antspyx.*pip install 'lesionforge\[reg"):
        atropos_classes(layered(3)[0])


@BOTH
def test_classes_are_found_in_order_of_brightness_and_nothing_is_left_behind(spatial_dims):
    pytest.importorskip("ants")
    scan, truth = layered(spatial_dims, noise=5)
    before = sorted(Path(tempfile.gettempdir()).glob("antsr*"))
    found = atropos_classes(scan, classes=3)
    assert np.mean((found == truth)[truth > 0]) > 0.95
    assert (found[truth == 0] == 0).all()
    assert np.array_equal(found, atropos_classes(scan, classes=3))
    assert sorted(Path(tempfile.gettempdir()).glob("antsr*")) == before


@BOTH
def test_a_lesion_takes_no_class_of_its_own(spatial_dims):
    pytest.importorskip("ants")
    scan, truth = layered(spatial_dims, noise=5)
    label = np.zeros(scan.spatial_shape, np.int16)
    middle = tuple(slice(n // 2 - 2, n // 2 + 2) for n in scan.spatial_shape)
    label[middle] = 1
    image = np.where(label, 900, scan.image).astype(np.float32)
    found = atropos_classes(replace(scan, image=image, label=label), classes=3)
    healthy = (label == 0) & (truth > 0)
    assert np.mean((found == truth)[healthy]) > 0.95
    assert set(np.unique(found[middle])) == {3}


def test_tissue_without_contrast_is_refused():
    pytest.importorskip("ants")
    scan, _ = layered(3)
    with pytest.raises(CohortError, match="has no brain with 3 tissues"):
        atropos_classes(replace(scan, image=np.ones_like(scan.image)))
