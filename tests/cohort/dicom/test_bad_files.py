"""Files that are wrong get one line each, nothing is allocated for what they claim, and other series go on."""

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLossless

from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.layouts.dicom import read_dicom
from lesionforge.errors import CohortError
from tests.cli.commands import error
from tests.cohort.dicom.files import save, write_enhanced, write_series


def cut_pixels(folder):
    path = sorted(write_series(folder) and folder.iterdir())[1]
    path.write_bytes(path.read_bytes()[:-20])
    return path


def cut_header(folder):
    path = sorted(write_series(folder) and folder.iterdir())[0]
    path.write_bytes(path.read_bytes()[:200])
    return path


def cut_before_the_image(folder):
    path = sorted(write_series(folder) and folder.iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x28\x00\x02\x00US")])
    return path


def claims(folder):
    path = write_enhanced(folder / "one.dcm", frames=4)
    content = dcmread(path)
    content.Rows = content.Columns = 30000
    return save(content, path)


def claims_frames(folder):
    return write_enhanced(folder / "one.dcm", frames=30000)


def claims_slices(folder):
    def vast(content, _):
        content.Rows = content.Columns = 30000

    write_series(folder, edit=vast)
    return folder / "IM0900"


def packed(folder):
    def named(content, _):
        content.file_meta.TransferSyntaxUID = JPEGLossless
        content.PixelData = encapsulate([bytes(40)])

    write_series(folder, order=[0], edit=named)
    return folder / "IM0900"


def pictures(folder):
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    return folder


def empty(folder):
    folder.mkdir()
    (folder / "x.dcm").touch()
    return folder / "x.dcm"


def zeros(folder):
    folder.mkdir()
    (folder / "x.dcm").write_bytes(bytes(128) + b"DICM" + bytes(400))
    return folder / "x.dcm"


def strange(folder):
    def worded(content, _):
        content.ImagePositionPatient = [float("nan"), 0, 0]

    write_series(folder, order=[0], edit=worded)
    return


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (cut_pixels, "cannot be read as DICOM"),
        (cut_header, "copy or export it again"),
        (cut_before_the_image, "its header ends before the image"),
        (claims, "its header claims 7200000000 bytes"),
        (claims_frames, "claims 30000 frames, and says of 4 where they lie"),
        (claims_slices, "its header claims 1800000000 bytes"),
        (packed, "cannot be read|is compressed"),
        (pictures, r"holds 3 files that are no DICOM, as 0.dcm \(PNG\); import them as slices"),
        (empty, r"is no DICOM file \(empty\)"),
        (zeros, "x.dcm: .*; copy or export it again"),
    ],
)
def test_a_wrong_file_is_one_line_and_the_other_series_go_on(tmp_path, make, told):
    wrong = make(tmp_path / "in" / "bad") if (tmp_path / "in").mkdir() is None else None
    write_series(tmp_path / "in" / "good", study=2, patient="bert")
    problems = []
    found = read_dicom(tmp_path / "in", on_problem=problems.append)
    report = write_nnunet(found, tmp_path / "out", problems=problems)
    assert [case.case_id for case in report.cohort if found[case.case_id].images["MR"].parent.name == "good"]
    named = [problem for problem in report.problems if problem.where == str(wrong)]
    assert len(named) == 1
    assert "\n" not in str(named[0])
    with pytest.raises(CohortError, match=told):
        raise named[0]


def test_a_tree_without_volumes_says_why(tmp_path):
    zeros(tmp_path / "x")
    assert "x.dcm" in error("import", tmp_path, tmp_path / "out", "--layout", "dicom")


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    write_series(tmp_path / "in")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    said = error("import", tmp_path / "in", tmp_path / "out")
    assert said.startswith("error: --layout dicom: needs the package pydicom")
    assert "pip install 'lesionforge[dicom]'" in said
