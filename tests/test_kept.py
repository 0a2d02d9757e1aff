import numpy as np
import pytest

from lesionforge.kept import KEPT, keeping_in, kept

IMAGES = {dims: np.arange(4**dims, dtype=np.float32).reshape((4,) * dims) for dims in (2, 3)}
both = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


class Making:
    """Doubles an image, and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self, image, option=1):
        def make():
            self.times += 1
            return {"doubled": 2 * image, "option": np.array(option)}

        return kept("doubled", (image, option), make)


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@both
def test_what_was_made_of_the_same_inputs_is_read(image, tmp_path):
    double = Making()
    with keeping_in(tmp_path):
        first, again = double(image), double(image.copy())
    assert double.times == 1
    assert same(first, again)
    assert again["doubled"].dtype == image.dtype
    assert len(list((tmp_path / KEPT / "doubled").iterdir())) == 1


@both
def test_other_inputs_are_never_taken_for_the_same(image, tmp_path):
    double, flat = Making(), image.ravel()
    changed = image.copy()
    changed[(0,) * image.ndim] += 1
    with keeping_in(tmp_path):
        for other in (image, changed, flat, image.view(np.int32), image.astype(np.float64)):
            assert np.array_equal(double(other)["doubled"], 2 * other)
        assert double(image, option=(1, 2))["option"].tolist() == [1, 2]
    assert double.times == 6


def test_outside_of_a_run_nothing_is_kept(tmp_path):
    double = Making()
    with keeping_in(tmp_path / "run"):
        pass
    assert same(double(IMAGES[2]), double(IMAGES[2]))
    assert double.times == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"no arrays", None], ids=["empty", "other", "cut"])
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    double = Making()
    with keeping_in(tmp_path):
        first = double(IMAGES[3])
        (path,) = (tmp_path / KEPT / "doubled").iterdir()
        path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
        assert same(first, double(IMAGES[3]))
        assert same(first, double(IMAGES[3]))
    assert double.times == 2


def test_what_could_not_be_made_leaves_nothing(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), keeping_in(tmp_path):
        kept("doubled", (1,), fail)
    assert list(tmp_path.iterdir()) == []
    with keeping_in(tmp_path / "outer"), keeping_in(tmp_path / "inner"):
        pass
    assert kept("doubled", (1,), lambda: {}) == {}
