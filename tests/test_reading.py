"""Text, JSON, YAML and CSV from others: what is wrong is one line that names the file."""

import csv

import pytest

from lesionforge.errors import CohortError, ConfigError, causes
from lesionforge.reading import parse_yaml, read_json, read_rows, read_text, read_yaml

TABLE = "case_id,subject_id,centre\n"


def refused(call, path, message, fault=CohortError):
    with pytest.raises(fault, match=message) as caught:
        call()
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe{\0}\0", "UTF-8"),
        ('{"name": "Müller"}'.encode("latin-1"), "UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b"[" * 200 + b"]" * 200, "nested too deep"),
        (b'{"name": "a\\ud800"}', "not Unicode"),
        (b'{"\\udfff": 1}', "not Unicode"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "JSON"),
    ],
)
def test_json_that_cannot_be_used(path, content, message):
    path.write_bytes(content)
    refused(lambda: read_json(path), path, message)


def test_json_is_read_as_it_is(path):
    path.write_text('\ufeff{"a": [1, {"ä": "\\ud83d\\ude00"}]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, {"ä": "😀"}]}


def test_what_is_no_file(path):
    refused(lambda: read_text(path), path, "no such file")
    path.mkdir()
    refused(lambda: read_json(path, fault=ConfigError), path, "no such file", ConfigError)


LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "YAML"),
        ("&a [*a]", "refers to itself"),
        ("a: &a {b: *a}", "refers to itself"),
        (LAUGHS, "too deep, or refers to itself"),
        ("[" * 1500, "nested too deep"),
        ("{[1]: 2}", "YAML"),
        ("2001-99-99", "YAML"),
        ('"a\\ud800"', "not Unicode|YAML"),
        ("!!python/object/apply:os.getcwd []", "YAML"),
    ],
)
def test_yaml_that_cannot_be_used(path, text, message):
    path.write_text(text)
    refused(lambda: read_yaml(path, fault=ConfigError), path, message, ConfigError)
    refused(lambda: parse_yaml(text, "--set", fault=ConfigError), "--set", message, ConfigError)


def test_anchors_are_followed(path):
    path.write_text("base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n")
    assert read_yaml(path, fault=ConfigError)["other"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABLE + "x,y\n", r"line 2 has 2 cells, but there are 3 columns"),
        (TABLE + "x,y,z\n\nx,y,z,extra\n", r"line 4 has 4 cells"),
        (TABLE + 'x,"y\nz,",w,v\n', "line 3 has 4 cells"),
        (TABLE + 'x,"y,z\n', r"line 2 cannot be read"),
        ("a,b,a\n1,2,3\n", "two columns 'a'"),
        ("a,,b\n1,2,3\n", "without a name"),
        ("", "it is empty"),
        ("\n,,\n", "it is empty"),
        ("case_id;subject_id\nx;y\n", "no column case_id"),
        ("case_id\tsubject_id\nx\ty\n", "no column case_id"),
        (TABLE.encode("utf-16"), "UTF-8"),
        ((TABLE + "x,Müller,y\n").encode("latin-1"), "UTF-8"),
        (TABLE + "x," + "y" * 200_000 + ",z\n", "line 2 cannot be read"),
    ],
)
def test_tables_that_cannot_be_used(path, content, message):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(lambda: read_rows(path, ["case_id"]), path, message)


@pytest.mark.parametrize("lines", ["x,y,z\n", "x,y,z,\n", "x,y,z,,,\n", "\n,,,\nx , y,z\n\n", '"x","y","z",""\n'])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("header", [TABLE, TABLE.replace("\n", ",\n"), TABLE.replace(",", ", ")])
def test_what_spreadsheets_leave_behind_shifts_no_column(path, lines, ends, mark, header):
    path.write_bytes((mark + (header + lines).replace("\n", ends)).encode())
    assert read_rows(path, ["case_id"]) == [{"case_id": "x", "subject_id": "y", "centre": "z"}]


def test_cells_stay_text(path):
    rows = [["007", "NA", ""], ["1e5", "a, b", "nan"], ['say "no"', "two\nlines", "∞"]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["case_id", "subject_id", "centre"], *rows])
    assert [list(row.values()) for row in read_rows(path)] == rows


def test_causes_are_named_with_their_number_whatever_numbers_they_hold():
    problems = [CohortError(f"p{n}", f"holds the value {n}.5", "correct it") for n in range(4)]
    problems += [CohortError("q", what, "see") for what in ("b", "c", "d", "e")]
    text = causes(problems)
    assert text.startswith("4 × holds the value 0.5 (first: p0; correct it) | 1 × b (first: q; see)")
    assert text.endswith("and 2 more causes")


def test_an_error_is_one_line_that_can_be_printed():
    error = CohortError("a\udcffb", "first\nsecond", "third\rfourth")
    assert str(error) == "a\\udcffb: first second; third fourth"
