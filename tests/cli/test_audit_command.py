import json
from dataclasses import replace

import pytest

from lesionforge.cohort.layouts import write_nnunet
from tests.audit.memoriser import people, synthetic_cohort
from tests.cli.commands import GAN, error, sets, typed

QUICK = sets(["encoder.steps=1", "halves=5", "side=24"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    training, control = (people(folder, name, 8, seed=seed) for name, seed in (("train", 1), ("held", 2)))
    drawn = synthetic_cohort(folder, 11, seed=3, training=training, replayed=2)
    both = replace(training, cases=(*training.cases, *control.cases))
    for name, cohort in (("Drawn", drawn), ("Nine", drawn.with_cases(drawn.cases[:9])), ("Real", both)):
        write_nnunet(cohort, folder / name)
    roles = {"pool": list(training.subjects), "final": list(control.subjects)}
    (folder / "Real" / "roles.json").write_text(json.dumps(roles))
    return folder


def asked(folders, drawn, *more):
    real = folders / "Real"
    return ("audit", folders / drawn, "--against", real, "--role", "pool", "--control", real, *more)


def test_a_report_is_printed_in_order_and_written(folders, tmp_path):
    out = tmp_path / "audit"
    result = typed(*asked(folders, "Drawn", "--control-role", "final", "--out", out, *QUICK))
    places = [result.output.index(title) for title in ("What is real in", "Copies found", "Membership", "Controls")]
    assert places == sorted(places)
    assert result.output.count("What this cannot show") == 4
    assert json.loads((out / "audit.json").read_text())["copies_found"] >= 2
    again = error(*asked(folders, "Drawn", "--control-role", "final", "--out", out))
    assert "not empty" in again


def test_bad_requests_are_refused_in_one_line(folders, tmp_path):
    assert "9 synthetic cases" in error(*asked(folders, "Nine", "--control-role", "final"))
    assert "is behind the case" in error(*asked(folders, "Drawn"))
    assert "holds no attacks.csv" in error(*asked(folders, "Drawn", "--control-role", "final", "--fold", tmp_path))
    assert "no option" in error(*asked(folders, "Drawn", "--set", "steps=1"))


@pytest.mark.slow
def test_a_model_adds_white_box_attacks_and_its_card_gets_the_findings(folders, tmp_path):
    model, out = tmp_path / "gan", tmp_path / "audit"
    typed("train", "pix2pix", folders / "Real", "--role", "pool", "--out", model, "--steps", 2, *sets(GAN))
    result = typed(*asked(folders, "Drawn", "--control-role", "final", "--model", model, "--out", out, *QUICK))
    assert "critic score: AUC" in result.output
    assert "reconstruction error: AUC" in (out / "audit.md").read_text()
    assert "Copies found" in (model / "model_card.md").read_text()
    typed(*asked(folders, "Drawn", "--control-role", "final", "--fold", out, *QUICK))
    typed("train", "pix2pix", folders / "Real", "--out", tmp_path / "all", "--steps", 2, *sets(GAN))
    assert "the model was fitted on" in error(
        *asked(folders, "Drawn", "--control-role", "final", "--model", tmp_path / "all")
    )
