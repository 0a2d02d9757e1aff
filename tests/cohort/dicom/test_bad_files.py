"""A tree without volumes, and a machine without pydicom; wrong studies are in tests.faults."""

from tests.cli.commands import error
from tests.cohort.dicom.files import write_series


def test_a_tree_without_volumes_says_why(tmp_path):
    (tmp_path / "x.dcm").write_bytes(bytes(128) + b"DICM" + bytes(400))
    assert "x.dcm" in error("import", tmp_path, tmp_path / "out", "--layout", "dicom")


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    write_series(tmp_path / "in")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    said = error("import", tmp_path / "in", tmp_path / "out")
    assert said.startswith("error: --layout dicom: needs the package pydicom")
    assert "pip install 'lesionforge[dicom]'" in said
