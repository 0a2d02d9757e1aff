"""Random named edits of a scan's own lesions."""

from collections import Counter

import numpy as np
import pytest

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, PlacementError
from lesionforge.masks import make_mask_source
from lesionforge.masks.editing.any_edit import AnyEdit
from lesionforge.masks.editing.edit_config import OWN_EDITS, EditConfig
from lesionforge.masks.editing.named_edits import NamedEdits
from lesionforge.seeding import generator
from tests.masks.editing.test_named_edits import a_scan

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def any_edit(**options):
    return AnyEdit(parse_options(EditConfig, {"edit": "any", **options}))


@both
def test_every_edit_takes_its_turn(spatial_dims):
    scan, source = a_scan(spatial_dims), any_edit()
    made = Counter()
    for seed in range(24):
        placed = source.sample(scan, generator(seed))
        assert np.array_equal(placed.mask, source.sample(scan, generator(seed)).mask)
        assert placed.instead
        (line,) = placed.edits
        made[line.what] += 1
    assert set(made) == set(OWN_EDITS)


def test_an_edit_that_does_not_fit_is_replaced_by_another(monkeypatch):
    scan, sample = a_scan(2), NamedEdits.sample

    def never_larger(self, scan, rng, **options):
        if self.edit == "enlarge":
            raise PlacementError("target", "no lesion fits", "use another edit")
        return sample(self, scan, rng, **options)

    monkeypatch.setattr(NamedEdits, "sample", never_larger)
    made = {any_edit().sample(scan, generator(seed)).edits[0].what for seed in range(24)}
    assert made == {"shrink", "shift", "mirror"}


def test_a_scan_that_no_edit_fits_is_named(monkeypatch):
    def never(self, scan, rng, **options):
        raise PlacementError("target", f"no lesion fits after {self.edit}", "use another edit")

    monkeypatch.setattr(NamedEdits, "sample", never)
    with pytest.raises(PlacementError, match="no lesion fits"):
        any_edit().sample(a_scan(2), generator(0))


def test_it_is_asked_for_by_name_and_keeps_the_options():
    source = make_mask_source("edited", options={"edit": "any", "distance_mm": (2.0, 3.0)})
    assert isinstance(source, AnyEdit)
    assert [edit.edit for edit in source.edits] == list(OWN_EDITS)
    assert all(edit.config.distance_mm == (2.0, 3.0) for edit in source.edits)
    assert source.of_own_lesion
    assert source.digest != any_edit().digest


def test_it_is_no_single_edit():
    with pytest.raises(ConfigError, match="'any' is no single edit"):
        NamedEdits(parse_options(EditConfig, {"edit": "any"}))
    with pytest.raises(ConfigError, match="factor has no effect on any"):
        any_edit(factor=(1.0, 1.1))
