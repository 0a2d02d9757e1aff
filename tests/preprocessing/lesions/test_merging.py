"""The one map of anatomy and lesions."""

import numpy as np
import pytest

from lesionforge.cohort.layouts.brats import CHILDREN, UNTIL_2021, WITH_CAVITY
from lesionforge.errors import CohortError
from lesionforge.preprocessing.lesions.merging import by_class, by_depth, give_way, merge, nested_by_name, refuse_unseen
from lesionforge.synthesizers.translation.conditions import Condition

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def maps(spatial_dims):
    rng = np.random.default_rng(0)
    shape = (7,) * spatial_dims
    return rng.choice([0, 2, 5], shape).astype(np.int16), rng.choice([0, 1, 3], shape).astype(np.int16)


@both
def test_the_lesion_wins_over_every_structure_and_each_value_has_its_number(spatial_dims):
    anatomy, lesion = maps(spatial_dims)
    merged = merge(anatomy, lesion, structures=(0, 2, 5), classes=(1, 3))
    for number, value in enumerate((0, 2, 5)):
        assert np.array_equal(merged == number, (anatomy == value) & (lesion == 0))
    for number, value in enumerate((1, 3), start=3):
        assert np.array_equal(merged == number, lesion == value)


@both
def test_a_generator_sees_one_channel_for_each_number_of_the_map(spatial_dims):
    anatomy, lesion = maps(spatial_dims)
    for structures in ((0, 2, 5), ()):
        condition = Condition(name="label", image_channels=1, classes=(1, 3), anatomy=structures, noise_channels=0)
        image = np.zeros((1, *lesion.shape), np.float32)
        seen = condition.encode(image, lesion, anatomy, lesion > 0, image[:0])
        assert len(seen) == condition.in_channels
        assert np.array_equal(seen.argmax(0), merge(anatomy, lesion, structures=structures, classes=(1, 3)))
        assert (seen.sum(0) == 1).all()


def test_values_without_a_number_have_no_channel_and_structures_need_a_map():
    row = np.array([0, 2, 9], np.int16)
    assert merge(row, np.zeros(3, np.int16), structures=(0, 2), classes=(1,)).tolist() == [0, 1, -1]
    assert merge(row, np.array([0, 4, 1], np.int16), structures=(0, 2), classes=(1,)).tolist() == [0, -1, 2]
    with pytest.raises(ValueError, match="need an anatomy map"):
        merge(None, row, structures=(0, 2), classes=(1,))


def test_only_the_outermost_class_gives_way_where_the_core_wins():
    lesion, fluid = np.array([0, 1, 2, 3, 1], np.int16), np.array([1, 1, 1, 1, 0], bool)
    assert give_way(lesion, fluid, "core").tolist() == [0, 0, 2, 3, 1]
    assert give_way(lesion, fluid, "fluid").tolist() == [0, 0, 0, 0, 1]
    assert give_way(lesion, fluid, "lesion").tolist() == lesion.tolist()
    assert give_way(lesion, None, "fluid").tolist() == lesion.tolist()
    core = np.array([2, 3], np.int16)
    assert give_way(core, np.ones(2, bool), "core").tolist() == [2, 3]


def test_depth_and_class_go_there_and_back_whatever_the_order_of_the_values():
    lesion = np.array([0, 4, 1, 2], np.int16)
    assert by_depth(lesion, (2, 1, 4)).tolist() == [0, 3, 2, 1]
    assert by_class(by_depth(lesion, (2, 1, 4)), (2, 1, 4)).tolist() == lesion.tolist()


@pytest.mark.parametrize(
    ("classes", "nested"),
    [
        (UNTIL_2021, (2, 1, 4)),
        (WITH_CAVITY, (2, 4, 1, 3)),
        (CHILDREN, (4, 2, 3, 1)),
        ({"NCR": 1, "ED": 2, "cyst": 3}, ()),
        ({"oedema": 1, "core": 2}, ()),
    ],
)
def test_the_classes_of_brats_are_nested_by_their_names(classes, nested):
    assert nested_by_name({"background": 0, **classes}) == nested


def test_values_that_a_model_has_not_seen_are_refused_in_one_line():
    known = {"structures": (0, 1, 2), "classes": (1,)}
    nothing = np.zeros(4, np.int16)
    refuse_unseen("p1", np.array([0, 1, 2, 2], np.int16), np.array([0, 1, 1, 0], np.int16), **known)
    refuse_unseen("p1", np.array([9, 9, 9, 9], np.int16), nothing, structures=(), classes=(1,))
    with pytest.raises(
        CohortError, match=r"p1: holds the anatomy values 3, 7, which the model has not seen; .*0, 1, 2"
    ):
        refuse_unseen("p1", np.array([0, 7, 3, 0], np.int16), nothing, **known)
    with pytest.raises(CohortError, match="p1: holds the lesion class 2, which the model has not seen"):
        refuse_unseen("p1", None, np.array([0, 2, 0, 1], np.int16), **known)
