import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.audit.audit_config import AuditConfig
from lesionforge.audit.audit_folder import read_attacks, write_audit, write_card
from lesionforge.audit.cohort_audit import audit_cohort
from lesionforge.audit.copies import COPY, FOLLOWED, OUTLINE, SCAN, SPLIT, WITHIN
from lesionforge.audit.membership import members_of
from lesionforge.audit.origin import ANATOMY_MAP, what_is_real
from lesionforge.audit.views import Frame, read_views
from lesionforge.audit.wording import CONTROLS, COPIES, MEMBERSHIP, REAL, on_origin
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.cohort.scan import load_scan, read_label, save_edited
from lesionforge.errors import CohortError, ConfigError, LeakError, OutputError
from lesionforge.files import write_json
from lesionforge.masks.own import OwnMasks
from lesionforge.production.edit import edit_cohort
from lesionforge.production.synthesize import synthesize_cohort
from tests.audit.memoriser import people, synthetic_cohort
from tests.audit.painter import painting_model, patients
from tests.helpers import write_array
from tests.synthesizers.models import fit_library

QUICK = AuditConfig(encoder={"steps": 2}, halves=20)


def parts(folder, *, dims=2, replayed=3, n=14, **options):
    training = people(folder, "train", n, seed=1, spatial_dims=dims, **options)
    control = people(folder, "held", n, seed=2, spatial_dims=dims, **options)
    drawn = synthetic_cohort(folder, n, seed=3, training=training, replayed=replayed, spatial_dims=dims, **options)
    return drawn, training, control


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    return parts(tmp_path_factory.mktemp("slices"))


@pytest.fixture(scope="module")
def found(slices):
    return audit_cohort(*slices, config=QUICK)


def test_lesions_that_are_replayed_are_called_copies(found, slices):
    copies = found.copies[found.copies["copy"]]
    replayed = {case.case_id for case in slices[0].cases[:3]}
    assert replayed <= set(copies["case_id"])
    assert found.copies_found == copies["case_id"].nunique()
    assert set(copies.loc[copies["case_id"].isin(replayed), "known"]) == {""}


@pytest.mark.slow
def test_lesions_of_volumes_with_two_channels_are_found(tmp_path):
    drawn, training, control = parts(tmp_path, dims=3, channels=("FLAIR", "T1"), n=10, replayed=1, shape=(24, 24, 12))
    result = audit_cohort(drawn, training, control, config=QUICK.model_copy(update={"side": 12}))
    first = result.copies[result.copies["case_id"] == drawn.cases[0].case_id]
    assert first["copy"].any()
    assert result.planted["found"].sum() > 0


def test_the_report_says_first_what_is_real_and_always_what_it_cannot_show(found):
    assert [section.title for section in found.sections] == [REAL, COPIES, MEMBERSHIP, CONTROLS]
    assert all(section.lines and section.cannot for section in found.sections)
    copies = " ".join(found.sections[1].lines)
    assert f"Copies found: {found.copies_found} of 14" in copies
    members = " ".join(found.sections[2].lines)
    assert "14 held-out subjects resolve false-positive rates from 7.1% on" in members
    assert "at a false-positive rate of 0.01 cannot be measured" in members
    assert "What chance can do with so few subjects" in " ".join(found.sections[3].main)


def test_the_folder_holds_page_tables_and_picture_and_makes_no_promise(found, tmp_path):
    write_audit(found, out=tmp_path / "audit", config=QUICK)
    page = (tmp_path / "audit" / "audit.md").read_text()
    titles = [page.index(f"## {title}") for title in (REAL, COPIES, MEMBERSHIP, CONTROLS)]
    assert titles == sorted(titles)
    assert page.count("What this cannot show") == 4
    assert not re.search(r"anonym|privacy|private", page, re.IGNORECASE)
    assert "![" in page
    for name in re.findall(r"`(\w+\.csv)`", page):
        assert (tmp_path / "audit" / name).is_file()
    assert (tmp_path / "audit" / "copies.png").stat().st_size > 1000
    assert len(read_attacks(tmp_path / "audit")) == len(found.attacks)
    with pytest.raises(OutputError):
        write_audit(found, out=tmp_path / "audit", config=QUICK)


def test_the_findings_of_each_audited_cohort_go_into_the_model_card_once(found, slices, tmp_path):
    fit_library("copy_paste", slices[1], tmp_path / "model")
    other = replace(found, synthetic=replace(found.synthetic, name="also_drawn"))
    before = (tmp_path / "model" / "model_card.md").read_text()
    for audit in (found, other, found):
        write_card(audit, tmp_path / "model")
    card = (tmp_path / "model" / "model_card.md").read_text()
    assert card.startswith(before)
    assert card.count("## Audit of drawn\n") == card.count("## Audit of also_drawn\n") == 1
    assert card.count("Copies found") == 2
    assert card.count("What this cannot show") == 8
    assert not re.search(r"anonym|privacy", card, re.IGNORECASE)


def test_the_same_seed_gives_the_same_audit(found, slices):
    again = audit_cohort(*slices, config=QUICK)
    assert again.copies.equals(found.copies)
    assert again.sections == found.sections


def drawn_into(folder, training, n):
    """Return cases that differ from training scans in a small square only."""
    cases = []
    for number in range(n):
        source = training.cases[number % 5]
        scan = load_scan(source, training.channels)
        touched = np.zeros(scan.spatial_shape, bool)
        touched[24:34, 20 + number : 28 + number] = True
        path = folder / "drawn" / "imagesTr" / f"d{number:03d}.png"
        save_edited(source.images["FLAIR"], path, np.full(scan.spatial_shape, 110, np.float32), touched)
        cases.append(
            replace(
                source,
                case_id=f"d{number:03d}",
                images={"FLAIR": path},
                origin="synthetic",
                synthesizer="gan",
                source_case=source.case_id,
                mask_id=training.cases[6].case_id,
                parents=training.subjects,
            )
        )
    return replace(training, name="drawn", cases=tuple(cases))


def test_what_is_a_patients_own_is_counted_and_explains_what_is_like_it(slices, tmp_path):
    _, training, control = slices
    drawn = drawn_into(tmp_path, training, 12)
    result = audit_cohort(drawn, training, control, config=QUICK)
    assert result.origin["own_voxels"].between(0.9, 0.99).all()
    assert result.origin["scan_of"].tolist() == [case.source_case for case in drawn]
    assert set(result.origin["mask_of"]) == {training.cases[6].subject_id}
    whole = result.copies[(result.copies["view"] == "whole image") & (result.copies["measure"] == "correlation")]
    assert whole["copy"].all()
    assert set(whole["known"]) == {SCAN}
    assert whole["nearest"].tolist() == [case.source_case for case in drawn]
    assert set(result.copies["known"]) <= {"", SCAN, OUTLINE}
    near = result.duplicates[result.duplicates["where"] == WITHIN]
    assert len(near)
    assert set(near["known"]) == {SCAN}
    own, others = (
        result.membership.set_index("attack").loc[f"nearest synthetic case: whole image, correlation{end}", "auc"]
        for end in ("", ", made from other subjects")
    )
    assert own > others


@pytest.mark.parametrize("edit", [None, pytest.param("shift", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_what_follows_a_patients_own_map_and_mask_is_counted_apart_from_copies(dims, edit, tmp_path):
    options = {"spatial_dims": dims, "shape": (24, 24, 12) if dims == 3 else None}
    training, control = (patients(tmp_path, name, 20, seed=n, **options) for n, name in enumerate(("train", "held")))
    labels = edit_cohort(training, out=tmp_path / "edited", edits=[edit]).cohort if edit else training
    model = painting_model(training, spatial_dims=dims)
    drawn = synthesize_cohort(model, labels, OwnMasks(), out=tmp_path / "drawn", blend="full").cohort
    result = audit_cohort(drawn, training, control, config=QUICK)
    assert result.copies_found <= 0.05 * len(drawn)
    explained = result.copies[result.copies["copy"] & (result.copies["known"] != "")]
    for view, reason in (("whole image", FOLLOWED[ANATOMY_MAP]), ("lesion", OUTLINE)):
        cases = explained[explained["view"] == view]
        assert edit or cases["case_id"].nunique() >= 10
        assert set(cases["known"]) <= {reason}
    for reason, cases in explained.groupby("known"):
        assert f"{reason} ({cases['case_id'].nunique()})" in result.sections[1].main[0]
    others = result.copies["nearest_subject"] != result.copies["subject_id"]
    assert set(result.copies.loc[others, "known"]) <= {""}


def transformed(folder, training):
    """Return a transformed copy of every case."""
    model = fit_library("transformed_copy", training, folder / "model")
    return synthesize_cohort(model, training, None, out=folder / "copied").cohort


def test_transformed_copies_are_said_to_show_a_patient_whole(tmp_path):
    training = people(tmp_path, "train", 3, seed=1, n_healthy=1)
    copied = transformed(tmp_path, training)
    origin = what_is_real(copied, training)
    assert origin["scan_of"].tolist() == [case.case_id for case in training]
    assert origin["mask_of"].tolist() == [*training.subjects[:2], ""]
    lines = on_origin(origin).lines
    assert lines[0] == "0 of 3 synthetic cases are drawn into a scan of a real case."
    assert lines[1].startswith("3 of 3 synthetic cases are transformed copies: a real case's whole scan")
    assert "are that patient's own" not in " ".join(lines)
    frame = Frame.fit(training, fingerprint(training, training.channels), side=16)
    sources = {case.case_id: case for case in training}
    masks = [read_views(copied, frame, sources=given).views["mask"].images for given in (sources, None)]
    assert np.array_equal(*masks), "no part of a lesion is left out"


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_transformed_copies_are_explained_and_not_counted_as_copies_found(dims, tmp_path):
    """On a coarse grid, on which a scan that was turned a little is still like itself."""
    training, control = (patients(tmp_path, name, 12, seed=n, spatial_dims=dims) for n, name in enumerate("ab"))
    coarse = QUICK.model_copy(update={"side": 8})
    result = audit_cohort(transformed(tmp_path, training), training, control, config=coarse)
    own = result.copies["nearest_subject"] == result.copies["subject_id"]
    assert set(result.copies.loc[own, "known"]) == {COPY}
    assert set(result.copies.loc[~own, "known"]) == {""}
    found = result.copies[result.copies["copy"]]
    assert (found["view"] == "whole image").any()
    assert result.copies_found == found.loc[found["known"] == "", "case_id"].nunique() <= 1
    assert f"{COPY} (" in result.sections[1].main[0]


def test_kept_cases_are_whole_new_images_if_those_that_were_drawn_are(slices, tmp_path):
    drawn = drawn_into(tmp_path, slices[1], 2)
    write_json(tmp_path / "drawn" / "drawn" / "synthesis.json", {"blend": "full"})
    assert set(what_is_real(drawn, slices[1])["blend"]) == {"full"}


def test_a_whole_new_image_keeps_the_lesion_that_lies_where_the_old_one_was(slices, tmp_path):
    _, training, _ = slices
    drawn = drawn_into(tmp_path, training, 2)
    frame = Frame.fit(training, fingerprint(training, training.channels), side=32)
    larger = []
    for case in drawn:
        label, affine = read_label(case.label)
        path = tmp_path / "drawn" / "labelsTr" / f"{case.case_id}.png"
        write_array(path, ndimage.binary_dilation(label > 0, iterations=3).astype(np.uint8), affine)
        larger.append(replace(case, label=path))
    drawn = drawn.with_cases(larger)
    sources = {case.case_id: case for case in training}
    rim, whole = (read_views(drawn, frame, sources=given).views["mask"].images for given in (sources, None))
    write_json(tmp_path / "drawn" / "synthesis.json", {"blend": "full"})
    again = read_views(drawn, frame, sources=sources).views["mask"].images
    assert np.array_equal(again, whole)
    assert not np.array_equal(again, rim)


def test_the_scan_behind_an_edited_label_is_that_of_the_subject(slices, tmp_path):
    _, training, _ = slices
    drawn = drawn_into(tmp_path, training, 3)
    write_json(tmp_path / "drawn" / "synthesis.json", {"blend": "full"})
    edited = drawn.with_cases([replace(case, source_case=f"{case.source_case}_shift0") for case in drawn])
    origin = what_is_real(edited, training)
    assert origin["own_voxels"].between(0.9, 0.99).all()
    lines = on_origin(origin).lines
    assert "0 of 3 synthetic cases are drawn into a scan of a real case." in lines
    assert "3 of 3 synthetic cases are whole new images on the grid of a real case." in lines


def test_a_split_that_differs_without_any_generator_is_called_one(slices, tmp_path):
    drawn, training, _ = slices
    blurred = people(tmp_path, "blurred", 14, seed=7)
    for case in blurred:
        scan = load_scan(case, blurred.channels)
        smooth = ndimage.gaussian_filter(scan.image[0], 4) + np.random.default_rng(7).normal(0, 20, scan.spatial_shape)
        image = np.clip(smooth, 0, 255).astype(np.float32)
        save_edited(case.images["FLAIR"], case.images["FLAIR"], image, np.ones(scan.spatial_shape, bool))
    result = audit_cohort(drawn, training, blurred, config=QUICK)
    bare = result.without_generator.set_index("attack").loc["whole image, correlation"]
    assert bare["auc_low"] > 0.5
    fit_library("copy_paste", training, tmp_path / "model")
    write_card(result, tmp_path / "model")
    assert "The two groups differ without any trained generator" in (tmp_path / "model" / "model_card.md").read_text()


def test_exact_and_near_duplicates_across_the_split_are_listed(slices, tmp_path):
    drawn, training, control = slices
    scan = load_scan(training.cases[0], training.channels)
    path = tmp_path / "again.png"
    noise = np.random.default_rng(0).normal(0, 1, scan.spatial_shape).astype(np.float32)
    image = np.clip(scan.image[0] + noise, 0, 255)
    save_edited(training.cases[0].images["FLAIR"], path, image, np.ones(scan.spatial_shape, bool))
    twice = replace(control.cases[0], case_id="again", images={"FLAIR": path})
    same = replace(drawn.cases[0], case_id="same", images=training.cases[3].images)
    result = audit_cohort(
        drawn.with_cases([*drawn, same]), training, control.with_cases([*control, twice]), config=QUICK
    )
    pairs = {(row.where, row.kind, row.case_id, row.other) for row in result.duplicates.itertuples()}
    assert any("1 held-out scans nearly equal a training scan" in line for line in result.sections[1].main)
    assert (SPLIT, "near", "again", training.cases[0].case_id) in pairs
    assert ("synthetic and training", "exact", "same", training.cases[3].case_id) in pairs


def test_an_unreadable_case_is_listed_and_a_source_that_is_gone_is_said_to_be_unknown(slices, tmp_path):
    drawn, training, control = slices
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    bad = replace(drawn.cases[0], case_id="bad", images={"FLAIR": broken})
    cases = [replace(case, source_case="gone") for case in drawn]
    result = audit_cohort(drawn.with_cases([*cases, bad]), training, control, config=QUICK)
    assert len(result.synthetic) == 14
    assert ["broken.png" in str(problem) for problem in result.problems] == [True]
    assert result.origin["own_voxels"].isna().all()
    assert "not known" in " ".join(result.sections[0].lines)


class TestRefused:
    def test_a_training_cohort_without_a_subject_that_the_cases_descend_from(self, slices):
        drawn, training, _control = slices
        others = drawn.with_cases([replace(case, parents=("stranger",)) for case in drawn])
        with pytest.raises(CohortError, match="train: has no subject that the generator was fitted on"):
            members_of(training, others)
        assert members_of(training, drawn) == frozenset(training.subjects)

    def test_nine_synthetic_cases(self, slices):
        drawn, training, control = slices
        with pytest.raises(CohortError, match="9 synthetic cases, too few"):
            audit_cohort(drawn.with_cases(drawn.cases[:9]), training, control)

    def test_a_control_set_of_one(self, slices):
        drawn, training, control = slices
        with pytest.raises(CohortError, match="1 held-out subjects, too few"):
            audit_cohort(drawn, training, control.with_cases(control.cases[:1]))

    def test_a_held_out_subject_in_the_training_set(self, slices):
        drawn, training, control = slices
        with pytest.raises(LeakError, match="train_sub_02 is behind the case train_case_002"):
            audit_cohort(drawn, training, control.with_cases([*control, training.cases[2]]))

    def test_a_held_out_subject_that_is_a_parent_of_a_synthetic_case(self, slices):
        drawn, training, control = slices
        parent = replace(drawn.cases[4], parents=(control.cases[1].subject_id,))
        with pytest.raises(LeakError, match=r"held_sub_01 is behind the case drawn_case_004"):
            audit_cohort(drawn.with_cases([*drawn.cases[:4], parent, *drawn.cases[5:]]), training, control)

    def test_a_training_scan_under_another_name(self, slices):
        drawn, training, control = slices
        renamed = replace(training.cases[2], case_id="new", subject_id="someone")
        with pytest.raises(LeakError, match="new is the same scan as train_case_002"):
            audit_cohort(drawn, training, control.with_cases([*control, renamed]))

    def test_a_synthetic_control(self, slices):
        drawn, training, control = slices
        with pytest.raises(CohortError, match="is a held-out case and synthetic"):
            audit_cohort(drawn, training, control.with_cases([*control, drawn.cases[0]]))

    def test_channels_in_another_order_unless_they_are_named(self, tmp_path):
        drawn, training, control = parts(tmp_path, channels=("FLAIR", "T1"), n=10)
        turned = replace(drawn, channels=("T1", "FLAIR"))
        with pytest.raises(ConfigError, match=r"channels are T1, FLAIR, those of train are FLAIR, T1"):
            audit_cohort(turned, training, control)
        named = audit_cohort(turned, training, control, config=QUICK, channels=("FLAIR",))
        assert set(named.synthetic.channels) == {"FLAIR"}

    def test_slices_against_volumes_and_another_spacing(self, slices, tmp_path):
        drawn, training, _ = slices
        volumes = people(tmp_path, "volumes", 5, seed=4, spatial_dims=3)
        with pytest.raises(CohortError, match="holds volumes, but train slices"):
            audit_cohort(drawn, training, volumes)
        fine, coarse = (
            people(tmp_path, name, 10, seed=seed, spatial_dims=3, affine=np.diag([step, step, step, 1.0]))
            for name, seed, step in (("fine", 5, 1.0), ("coarse", 6, 2.0))
        )
        with pytest.raises(CohortError, match="grid of 2 × 2 × 2 mm, fine one of 1 × 1 × 1 mm"):
            audit_cohort(replace(coarse, name="coarse"), fine, volumes)
