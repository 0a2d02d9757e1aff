"""Methods of another installed package: found, trained, listed and loaded like those of this one."""

import os
import subprocess
import sys

import numpy as np
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.errors import ConfigError, ModelError
from lesionforge.healers.registry import HEALERS, find_trainable
from lesionforge.masks import MaskBank, make_mask_source
from lesionforge.synthesizers.registry import SYNTHESIZERS, load_synthesizer
from lesionforge.synthesizers.training_free.copy_paste import CopyPaste
from lesionforge.testing import check_mask_source, check_synthesizer
from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort, write_array

CODE = """
from lesionforge.healers.baselines import HealingGAN
from lesionforge.cohort.layouts import Layout, read_folders
from lesionforge.masks import Ellipsoids
from lesionforge.synthesizers.training_free.injection import Injection


class Brighter(Injection):
    method = "brighter"


class Calm(HealingGAN):
    method = "calm"


class Dots(Ellipsoids):
    method = "dots:MM"

    @classmethod
    def from_request(cls, request):
        size = float(request.argument)
        return cls(diameter_mm=(size, size))


class Hospital(Layout):
    method = "hospital"

    @staticmethod
    def read(source, *, mask=None, on_problem):
        return read_folders(source, channels={"FLAIR": "*.nii.gz"}, mask=mask, on_problem=on_problem)
"""
ENTRY_POINTS = """
[lesionforge.synthesizers]
brighter = elsewhere:Brighter
copy_paste = elsewhere:Brighter
missing = elsewhere.missing:Nothing
faulty = elsewhere.faulty:Method
unnamed = elsewhere:Injection
a_function = elsewhere:__doc__

[lesionforge.healers]
calm = elsewhere:Calm

[lesionforge.mask_sources]
dots:MM = elsewhere:Dots
bank = elsewhere:Dots

[lesionforge.layouts]
hospital = elsewhere:Hospital
"""


def write_patient(folder):
    write_array(folder / "scan.nii.gz", np.random.default_rng(0).integers(1, 200, (8, 8, 8)), np.eye(4))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Install a package."""
    site = tmp_path / "site"
    (site / "elsewhere").mkdir(parents=True)
    (site / "elsewhere" / "__init__.py").write_text(CODE)
    (site / "elsewhere" / "faulty.py").write_text("raise ValueError('first\\nsecond')")
    (site / "elsewhere-1.0.dist-info").mkdir()
    (site / "elsewhere-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (site / "elsewhere-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(site)
    yield site
    for name in [name for name in sys.modules if name.partition(".")[0] == "elsewhere"]:
        del sys.modules[name]


def test_methods_are_found_by_name_without_importing_their_package(elsewhere):
    assert "brighter" in SYNTHESIZERS
    assert "brighter" in list(SYNTHESIZERS)
    assert "calm" in HEALERS
    assert "elsewhere" not in sys.modules
    assert find_trainable("brighter").__module__ == find_trainable("calm").__module__ == "elsewhere"


def test_a_method_of_this_package_is_not_replaced(elsewhere):
    assert SYNTHESIZERS["copy_paste"] is CopyPaste
    assert list(SYNTHESIZERS).count("copy_paste") == 1


def test_they_are_trained_loaded_and_drawn_with(elsewhere, tmp_path, monkeypatch):
    tiny_cohort(tmp_path / "c", spatial_dims=2)
    typed("train", "brighter", tmp_path / "c", "--out", tmp_path / "model")
    assert type(load_synthesizer(tmp_path / "model")) is SYNTHESIZERS["brighter"]
    typed("synthesize", tmp_path / "model", tmp_path / "c", "--out", tmp_path / "drawn", "--n", "2")
    assert len(list((tmp_path / "drawn" / "imagesTr").iterdir())) == 2
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(elsewhere)])
    with pytest.raises(ModelError, match="is a model of brighter; name a model that"):
        load_synthesizer(tmp_path / "model")


def test_they_are_listed_in_the_help(elsewhere):
    environment = {**os.environ, "PYTHONPATH": f"{elsewhere}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    code = (
        "import sys; from lesionforge.cli.models import METHODS; print(METHODS)\n"
        "print([name for name in ('elsewhere', 'torch') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    drawing, removing = shown.stdout.split(" draw lesions; ")
    assert "brighter" in drawing
    assert "calm" in removing
    assert removing.splitlines()[-1] == "[]"


def test_a_mask_source_with_an_argument_is_drawn_from(elsewhere, tmp_path):
    tiny_cohort(tmp_path / "c", spatial_dims=2)
    typed("train", "copy_paste", tmp_path / "c", "--out", tmp_path / "model")
    command = ["synthesize", tmp_path / "model", tmp_path / "c", "--n", "2", "--masks"]
    typed(*command, "dots:9", "--out", tmp_path / "drawn", "--min-volume", "10")
    assert len(list((tmp_path / "drawn" / "imagesTr").iterdir())) == 2
    assert "unknown mask source" in error(*command, "dots", "--out", tmp_path / "none")
    assert isinstance(make_mask_source("bank", tiny_cohort(tmp_path / "d", spatial_dims=2)), MaskBank)
    check_mask_source("dots:9", spatial_dims=(2,))


def test_a_layout_takes_the_options_that_it_names(elsewhere, tmp_path):
    write_patient(tmp_path / "scans" / "p1")
    command = ["import", tmp_path / "scans", tmp_path / "c", "--layout", "hospital"]
    assert "--anatomy: does not apply to the layout hospital" in error(*command, "--anatomy", "map.nii.gz")
    typed(*command)
    assert [case.case_id for case in read_cohort(tmp_path / "c")] == ["p1"]


def test_they_are_checked_by_name(elsewhere):
    check_synthesizer("brighter", spatial_dims=(2,), workers=1)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("missing", "missing: cannot be imported from elsewhere.missing:Nothing (ModuleNotFoundError: No module named"),
        ("faulty", "faulty: cannot be imported from elsewhere.faulty:Method (ValueError: first); repair"),
        ("unnamed", "unnamed: is no class with method = 'unnamed' in elsewhere:Injection; repair or uninstall"),
        ("a_function", "a_function: is no class with method = 'a_function'"),
    ],
)
def test_a_broken_one_is_told_in_one_line(name, what, elsewhere, tmp_path):
    with pytest.raises(ConfigError) as caught:
        SYNTHESIZERS[name]
    assert str(caught.value).startswith(what)
    tiny_cohort(tmp_path / "c", spatial_dims=2)
    assert what in error("train", name, tmp_path / "c", "--out", tmp_path / "model")
    assert "brighter" in SYNTHESIZERS, "the others work"
