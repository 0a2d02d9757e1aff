"""Nothing of a person in the sources is in what any command writes."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import save_label
from lesionforge.errors import LeakError
from lesionforge.production.heal import heal_cohort
from tests.cli.commands import UNET, error, sets, typed
from tests.cli.test_import import planted, survivors
from tests.helpers import SHAPES
from tests.synthesizers.healers import untrained_healer

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SMALL = ("--min-volume", "1")


def old_ids(folder):
    """Return the files of a folder whose name or content holds an old id."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    texts = {path: path.read_bytes() if path.suffix in (".json", ".csv") else b"" for path in files}
    return [path for path, text in texts.items() if any(old in str(path.name).encode() + text for old in OLD)]


OLD = (b"case_0", b"sub_0")


def told(path):
    """Return what an image file says beside voxels and geometry; pictures may name matplotlib and their resolution."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            return [*(set(image.info) - {"Software", "dpi"}), *image.getexif()]
    header, packed = nib.load(path).header, path.read_bytes()[:8]
    fields = [header[name].item() for name in ("descrip", "aux_file", "intent_name", "db_name")]
    named_or_dated = packed[3] & (8 | 16) or any(packed[4:8])
    return [*filter(None, fields), *header.extensions, *(["gzip"] if named_or_dated else [])]


@pytest.mark.slow
@DIMS
def test_every_writer_of_images_and_labels_leaves_it_out(tmp_path, spatial_dims):
    source = tmp_path / "SECRET19_folder"
    (*_, last) = planted(source, spatial_dims)
    assert len(survivors(source)) >= 12
    (source / "cases.csv").write_text((source / "cases.csv").read_text().replace("sub_03,lesion", "sub_03,lesion_free"))
    save_label(last.label, np.zeros(SHAPES[spatial_dims], np.int16), last.label)
    scans = read_cohort(source)
    out = {name: tmp_path / name for name in ("edited", "healed", "unet", "predicted", "shown")}
    typed("edit", source, out["edited"], *SMALL)
    heal_cohort(untrained_healer("healing_gan", scans), scans, out=out["healed"])
    options = [*UNET, f"spatial_dims={spatial_dims}", f"roi_size={[16] * spatial_dims}"]
    typed("segment", "train", source, "--out", out["unet"], "--steps", "1", "--device", "cpu", *sets(options))
    typed("segment", "predict", out["unet"], source, "--out", out["predicted"])
    typed("show", source, "--out", out["shown"] / "sheet.png")
    if spatial_dims == 3:
        out |= {name: tmp_path / name for name in ("aligned", "matched")}
        typed("align", source, out["aligned"], "--size", "24,24,12", "--drop", "1")
        typed("match", source, out["matched"], "--to", source)
    assert all(any(folder.rglob("*.*")) for folder in out.values())
    assert {name: survivors(folder) for name, folder in out.items()} == {name: [] for name in out}
    images = [path for folder in out.values() for path in (*folder.rglob("*.png"), *folder.rglob("*.nii.gz"))]
    assert {path: told(path) for path in images} == {path: [] for path in images}
    assert told(scans.cases[0].label)


def test_new_ids_leave_no_old_one_in_the_cohort_and_the_table_leads_back(tmp_path):
    source, table = tmp_path / "in", tmp_path / "private" / "ids.csv"
    cohort = planted(source, 2)
    cohort.cases[1].label.write_bytes(b"")
    result = typed("import", source, tmp_path / "out", "--layout", "nnunet", "--new-ids", table, code=1)
    assert "ids_problems.csv" in result.output
    assert old_ids(tmp_path / "out") == []
    assert survivors(tmp_path / "out") == []
    rows = pd.read_csv(table)
    assert set(rows.columns) == {"kind", "new", "old"}
    back = dict(zip(rows["new"], rows["old"], strict=True))
    made = read_cohort(tmp_path / "out")
    assert sorted(back[case.case_id] for case in made) == ["case_000", "case_002", "case_003"]
    roles = json.loads((tmp_path / "out" / "roles.json").read_text())
    assert [back[name] for name in roles["pool"]] == ["sub_00"]
    assert "case_001" in (table.parent / "ids_problems.csv").read_text()


def test_a_table_keeps_drawn_cases_and_their_parents_together(tmp_path):
    source, table, drawn = tmp_path / "in", tmp_path / "ids.csv", tmp_path / "drawn"
    planted(source, 2)
    typed("train", "copy_paste", source, "--out", tmp_path / "model")
    typed("synthesize", tmp_path / "model", source, "--out", drawn, "--masks", "bank", "--n", "2", *SMALL)
    for name, folder in (("real", source), ("shared", drawn)):
        typed("import", folder, tmp_path / name, "--layout", "nnunet", "--new-ids", table)
        assert old_ids(tmp_path / name) == []
    real, shared = read_cohort(tmp_path / "real"), read_cohort(tmp_path / "shared")
    with pytest.raises(LeakError):
        check_no_leak(shared, real.of_subjects([shared.cases[0].parents[0]]))


def test_a_table_inside_the_cohort_is_refused_before_anything_is_written(tmp_path):
    planted(tmp_path / "in", 2)
    where = tmp_path / "out" / "ids.csv"
    message = error("import", tmp_path / "in", tmp_path / "out", "--layout", "nnunet", "--new-ids", where)
    assert "lies in the cohort folder" in message
    assert not (tmp_path / "out").exists()
