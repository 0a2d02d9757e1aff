"""Edited label maps on disk, and what is drawn from them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.inspection.panels import sheet
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import CohortError, ConfigError, LeakError, OutputError
from lesionforge.masks import MaskBank, OwnMasks, make_mask_source
from lesionforge.masks.editing.edit_config import OWN_EDITS
from lesionforge.production import edit_sheet as edit_sheet_module
from lesionforge.production.drawn_into import Targets
from lesionforge.production.edit import edit_cohort
from lesionforge.production.edit_sheet import check_draws_labels, edit_sheet
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from tests.helpers import NESTED, tiny_cohort, write_array
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.healers import perfect_healer
from tests.synthesizers.models import tiny_training, untrained_pix2pix

both = pytest.mark.parametrize("spatial_dims", [2, 3])
STRUCTURES = {"structures": {"ventricles": 1, "tissue": 2}, "parenchyma": [2]}


def brains(folder, spatial_dims, **how):
    options = {"labels": NESTED, "n_subjects": 3, "n_healthy": 1, "anatomy": True, "channels": ("T1", "FLAIR"), **how}
    return tiny_cohort(folder, spatial_dims=spatial_dims, **options)


def hollow_brains(folder, spatial_dims):
    """Brains whose anatomy maps show every lesion as a hole."""
    cohort = brains(folder, spatial_dims)
    (folder / "anatomy.json").write_text(json.dumps(STRUCTURES))
    for case in cohort.with_lesions():
        scan = load_scan(case, cohort.channels)
        write_array(case.anatomy, np.where(scan.label > 0, 0, scan.anatomy), scan.affine)
    return read_cohort(folder)


@both
def test_every_edit_of_every_scan_is_a_case_with_a_line_for_each_lesion(tmp_path, spatial_dims):
    cohort = hollow_brains(tmp_path / "in", spatial_dims)
    result = edit_cohort(cohort, out=tmp_path / "out", per_case=2, seed=3, min_volume=4)
    assert not result.problems
    edited = read_cohort(tmp_path / "out")
    assert {case.case_id for case in edited} == {
        *(f"case_00{number}_{edit}{copy}" for number in (0, 1) for edit in OWN_EDITS for copy in (0, 1)),
        *(f"case_002_transplant{copy}" for copy in (0, 1)),
    }
    for case in edited:
        source, scan = cohort[case.source_case], load_scan(case, cohort.channels)
        real = load_scan(source, cohort.channels)
        assert np.array_equal(scan.anatomy[real.label == 0], real.anatomy[real.label == 0])
        assert (scan.anatomy[real.label > 0] == 2).all()
        for channel in cohort.channels:
            assert np.array_equal(read_raw(case.images[channel])[0], read_raw(source.images[channel])[0])
        own = case.mask_id.split("+")[0] == case.source_case
        assert not scan.label[scan.anatomy != 2].any()
        assert case.parenchyma == (2,)
        record = json.loads((tmp_path / "out" / "provenance" / f"{case.case_id}.json").read_text())
        assert record["in_fluid"] == 0
        assert {line["what"] for line in record["edits"]} == {case.case_id.split("_")[-1][:-1]}
        keys = {"what", "from", "lesion", "factor", "shift_mm", "kept", "redraws"}
        assert all(set(line) == keys for line in record["edits"])
        assert case.parents == (source.subject_id,) if own else len(case.parents) == 3
        assert case.derived


@both
def test_the_same_seed_gives_the_same_bytes_and_a_stopped_run_goes_on(tmp_path, spatial_dims):
    cohort = brains(tmp_path / "in", spatial_dims)
    for name in ("one", "two"):
        edit_cohort(cohort, out=tmp_path / name, edits=["shift", "enlarge"], min_volume=4)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    (tmp_path / "two" / "provenance" / "case_000_shift0.json").unlink()
    edit_cohort(cohort, out=tmp_path / "two", edits=["shift", "enlarge"], min_volume=4)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with pytest.raises(OutputError, match="its seed is not the same"):
        edit_cohort(cohort, out=tmp_path / "two", edits=["shift", "enlarge"], min_volume=4, seed=1)


def test_a_transplant_knows_the_subjects_of_both_brains(tmp_path):
    cohort, healthy = (brains(tmp_path / name, 2, seed=seed) for seed, name in enumerate(("in", "healthy")))
    healthy = healthy.with_cases(
        [replace(case, case_id=f"h_{case.case_id}", subject_id=f"h_{case.subject_id}") for case in healthy.healthy()]
    )
    result = edit_cohort(cohort, out=tmp_path / "out", edits=["transplant"], onto=healthy)
    (case,) = result.cohort
    assert case.subject_id == "h_sub_02"
    with pytest.raises(LeakError, match="sub_00"):
        check_no_leak(result.cohort, cohort.of_subjects(["sub_00"]))


@both
def test_edited_labels_are_drawn_whole_and_nothing_is_trained_on_them_before(tmp_path, spatial_dims):
    cohort = brains(tmp_path / "in", spatial_dims)
    edited = edit_cohort(cohort, out=tmp_path / "edited", edits=["shift"], min_volume=4).cohort
    model = untrained_pix2pix(cohort, condition="label")
    with pytest.raises(CohortError, match=r"case_000_shift0: its label was edited.*blend=full"):
        synthesize(model, edited, OwnMasks(), tmp_path / "wrong", n=None, blend="lesion")
    with pytest.raises(CohortError, match="its label was edited"):
        synthesize(untrained_pix2pix(cohort, condition="inpaint"), edited, MaskBank(cohort), tmp_path / "wrong")
    drawn = synthesize(model, edited, OwnMasks(), tmp_path / "drawn", n=None, blend="full").cohort
    assert [case.mask_id for case in drawn] == [edited[case.source_case].mask_id for case in drawn]
    for case in drawn:
        label = load_scan(case, cohort.channels).label
        assert np.array_equal(label, load_scan(edited[case.source_case], cohort.channels).label)
    with pytest.raises(CohortError, match=r"case_000_shift0: its label was edited.*masks=own"):
        type(model).fit(edited, channels=cohort.channels, config={}, training=tiny_training(), out=tmp_path / "model")


@both
def test_what_is_drawn_has_no_hole_where_the_old_lesion_was(tmp_path, spatial_dims, monkeypatch):
    cohort = hollow_brains(tmp_path / "in", spatial_dims)
    seen, draw_whole = [], Pix2Pix.synthesize

    def synthesized(self, sample, mask, rng):
        seen.append((sample, mask))
        return draw_whole(self, sample, mask, rng)

    monkeypatch.setattr(Pix2Pix, "synthesize", synthesized)
    masks = make_mask_source("edited", cohort, options={"edit": "mirror"})
    model = untrained_pix2pix(cohort, condition="label")
    synthesize(model, cohort, masks, tmp_path / "drawn", n=None, blend="full")
    assert len(seen) == 2
    for (sample, mask), case in zip(seen, cohort.with_lesions(), strict=True):
        real = model.info.preprocessing.forward(load_scan(case, cohort.channels))
        vacated = (real.label > 0) & (mask == 0)
        assert vacated.any()
        assert (sample.anatomy[vacated] == 2).all()
        assert np.array_equal(sample.anatomy[real.label == 0], real.anatomy[real.label == 0])


@both
def test_a_healed_scan_has_no_hole_where_its_lesion_was(tmp_path, spatial_dims):
    cohort = hollow_brains(tmp_path / "in", spatial_dims)
    case = cohort.with_lesions().cases[0]
    model, healer = untrained_pix2pix(cohort, condition="label"), perfect_healer(cohort, margin_mm=2.0)
    real, healed = (Targets(model, of).read(case) for of in (None, healer))
    place = real.sample.label > 0
    assert not real.sample.anatomy[place].any()
    assert (healed.sample.anatomy[place] == 2).all()
    assert np.array_equal(healed.original.anatomy, real.original.anatomy)


@both
@pytest.mark.parametrize("edit", OWN_EDITS)
def test_masks_with_a_named_edit_take_the_place_of_the_old_lesion(tmp_path, spatial_dims, edit):
    cohort = brains(tmp_path / "in", spatial_dims)
    masks = make_mask_source("edited", cohort, options={"edit": edit})
    model = untrained_pix2pix(cohort, condition="label")
    drawn = synthesize(model, cohort, masks, tmp_path / "drawn", n=None, blend="full").cohort
    written = edit_cohort(cohort, out=tmp_path / "edited", edits=[edit], min_volume=4).cohort
    assert len(drawn) == len(written) == 2
    for case in drawn:
        new, old = (load_scan(c, cohort.channels).label for c in (case, cohort[case.source_case]))
        assert not np.array_equal(new, old)
        record = json.loads((tmp_path / "drawn" / "provenance" / f"{case.case_id}.json").read_text())
        assert {line["what"] for line in record["edits"]} == {edit}
        if edit == "mirror":
            edited = written[f"{case.source_case}_mirror0"]
            assert np.array_equal(new, load_scan(edited, cohort.channels).label)
    with pytest.raises(ConfigError, match=r"masks=edited.*takes the place.*blend=full"):
        synthesize(model, cohort, masks, tmp_path / "wrong", blend="lesion")


def test_masks_with_a_transplant_take_lesion_free_scans_only(tmp_path):
    cohort = brains(tmp_path / "in", 2)
    masks = make_mask_source("edited", cohort, options={"edit": "transplant"})
    model = untrained_pix2pix(cohort, condition="label")
    result = synthesize(model, cohort, masks, tmp_path / "all", n=None, blend="full")
    assert [case.source_case for case in result.cohort] == ["case_002"]
    assert len(result.problems) == 2
    assert all("lesion-free brain" in str(problem) for problem in result.problems)


def test_the_classes_of_brats_say_how_they_are_nested(tmp_path):
    cohort = brains(tmp_path / "in", 2, labels={"background": 0, "NCR": 1, "ED": 2})
    edit_cohort(cohort, out=tmp_path / "out", edits=["shift"], min_volume=4)
    settings = json.loads((tmp_path / "out" / "synthesis.json").read_text())
    assert settings["edits"]["shift"]["nested"] == [2, 1]


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    cohort = brains(tmp_path / "in", 2)
    lesions = cohort.with_lesions()
    with pytest.raises(CohortError, match=r"no lesion-free scan .* `onto`"):
        edit_cohort(lesions, out=tmp_path / "out", edits=["transplant"])
    with pytest.raises(CohortError, match="no case with a lesion mask"):
        edit_cohort(cohort.healthy(), out=tmp_path / "out")
    with pytest.raises(ConfigError, match="edit: 'blur' is no single edit; choose from enlarge"):
        edit_cohort(cohort, out=tmp_path / "out", edits=["blur"])
    other = brains(tmp_path / "other", 2)
    for folder, value in (("in", 2), ("other", 1)):
        structures = {"structures": {"rim": 1, "inside": 2}, "parenchyma": [value]}
        (tmp_path / folder / "anatomy.json").write_text(json.dumps(structures))
    renamed = other.with_cases([replace(case, case_id=f"h_{case.case_id}") for case in other])
    with pytest.raises(ConfigError, match="name other structures"):
        edit_cohort(cohort, out=tmp_path / "out", onto=renamed)
    with pytest.raises(ConfigError, match="Tiny has another case case_000"):
        edit_cohort(cohort, out=tmp_path / "out", onto=other)
    with pytest.raises(CohortError, match="has no channel 'FLAIR'"):
        edit_cohort(cohort, out=tmp_path / "out", onto=brains(tmp_path / "t1", 2, channels=("T1",)))
    assert not (tmp_path / "out").exists()


def test_a_healthy_brain_with_a_lesion_is_named_and_the_others_go_on(tmp_path):
    cohort = brains(tmp_path / "in", 2)
    onto = brains(tmp_path / "onto", 2, n_subjects=3, n_healthy=2)
    onto = onto.with_cases([replace(case, case_id=f"h_{case.case_id}") for case in onto])
    case = onto.healthy().cases[1]
    label = load_scan(onto.cases[0], ("T1",)).label
    write_array(case.label, label.astype(np.uint8))
    result = edit_cohort(cohort, out=tmp_path / "out", edits=["transplant"], onto=onto.healthy())
    assert len(result.cohort) == 1
    (problem,) = result.problems
    assert str(problem).startswith(f"{case.case_id}: has a lesion")


@both
def test_channels_in_another_order_are_read_by_name(tmp_path, spatial_dims):
    cohort = brains(tmp_path / "in", spatial_dims)
    turned = cohort.with_channels(("FLAIR", "T1"))
    model = untrained_pix2pix(cohort, condition="label")
    for name, scans in (("one", cohort), ("two", turned)):
        synthesize(model, scans, OwnMasks(), tmp_path / name, n=None, blend="full")
    one, two = (contents(tmp_path / name) for name in ("one", "two"))
    files = [name for name in one if name.startswith(("imagesTr", "labelsTr"))]
    assert len(files) == 6
    assert all(one[name] == two[name] for name in files)
    onto = turned.healthy()
    (case,) = edit_cohort(cohort, out=tmp_path / "edited", edits=["transplant"], onto=onto).cohort
    for channel in cohort.channels:
        assert np.array_equal(read_raw(case.images[channel])[0], read_raw(onto.cases[0].images[channel])[0])


@both
def test_label_maps_with_classes_that_the_model_has_not_seen_are_refused(tmp_path, spatial_dims):
    cohort = brains(tmp_path / "in", spatial_dims)
    model = untrained_pix2pix(cohort, condition="label")
    model.condition = replace(model.condition, anatomy=(0, 1))
    result = synthesize(model, cohort, OwnMasks(), tmp_path / "anatomy", n=None, blend="full")
    assert not len(result.cohort)
    assert all("anatomy value 2, which the model has not seen" in str(problem) for problem in result.problems)
    model.condition = replace(model.condition, anatomy=(), classes=(1,))
    result = synthesize(model, cohort, OwnMasks(), tmp_path / "classes", n=None, blend="full")
    assert all("lesion class 2, which the model has not seen" in str(problem) for problem in result.problems)


NAMES = ["larger", "smaller", "shifted", "mirrored", "on a healthy brain"]


def pictured(tmp_path, monkeypatch, cohort, **how):
    """The rows of the picture of all edits of a cohort."""
    rows = []
    monkeypatch.setattr(edit_sheet_module, "sheet", lambda panels, **how: rows.extend(panels) or sheet(panels, **how))
    edited = edit_cohort(cohort, out=tmp_path / "out", min_volume=4).cohort
    assert edit_sheet(cohort, edited, tmp_path / "edits.png", **how).is_file()
    return rows


def test_the_picture_shows_a_row_for_each_edit(tmp_path, monkeypatch):
    cohort = brains(tmp_path / "in", 2)
    onto = cohort.with_cases([replace(case, origin="simulated") for case in cohort.healthy()])
    rows = pictured(tmp_path, monkeypatch, cohort, onto=onto)
    assert [row[0].note for row in rows] == ["real", *NAMES[:-1], "on a simulated brain"]
    assert [panel is not None for panel in rows[0]] == [True, True, True]
    assert [panel is not None for panel in rows[1]] == [True, False, False]
    assert all(row[0].filled.any() for row in rows)


def test_the_picture_shows_drawn_channels_beside_each_label_if_a_model_is_given(tmp_path, monkeypatch):
    cohort = brains(tmp_path / "in", 3)
    rows = pictured(tmp_path, monkeypatch, cohort, model=untrained_pix2pix(cohort, condition="label"))
    assert [row[0].note for row in rows] == ["real", *(f"{name}, drawn" for name in ("same label", *NAMES))]
    assert all(panel is not None for row in rows for panel in row)
    assert not np.array_equal(rows[0][1].image, rows[1][1].image)
    with pytest.raises(ConfigError, match="draws into the scan"):
        check_draws_labels(untrained_pix2pix(cohort, condition="inpaint"))
