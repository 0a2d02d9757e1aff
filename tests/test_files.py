import json

import pytest

from lesionforge.errors import OutputError
from lesionforge.files import atomic, claim_output, write_json, write_text


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "scan.json.txt"

    def write(text, fail):
        with atomic(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.name.endswith(".json.txt")
            temporary.write_text(text[:3])
            assert not path.exists() or path.read_text() == "before"
            if fail:
                raise KeyboardInterrupt
            temporary.write_text(text)

    with pytest.raises(KeyboardInterrupt):
        write("first", fail=True)
    assert list(path.parent.iterdir()) == []
    write("before", fail=False)
    with pytest.raises(KeyboardInterrupt):
        write("after", fail=True)
    assert path.read_text() == "before"
    write("after", fail=False)
    assert path.read_text() == "after"
    assert list(path.parent.iterdir()) == [path]


def test_text_and_json_are_the_same_bytes_each_time(tmp_path):
    write_text(tmp_path / "a.txt", "µ²")
    assert (tmp_path / "a.txt").read_bytes() == "µ²".encode()
    write_json(tmp_path / "a.json", {"b": 1, "a": [2]})
    write_json(tmp_path / "b.json", {"a": [2], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [2], "b": 1}


def test_a_new_or_empty_folder_is_claimed_and_another_refused(tmp_path):
    assert claim_output(tmp_path / "a" / "b").is_dir()
    assert claim_output(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    for taken in (tmp_path / "a", tmp_path / "file"):
        with pytest.raises(OutputError, match=f"{taken.name}.*not empty") as caught:
            claim_output(taken)
        assert "\n" not in str(caught.value)
