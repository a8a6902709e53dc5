"""Placing a base tensor inside a motivated one, against numpy."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_motivation.assembly import Placement


@st.composite
def indices(draw):
    """A shape of the outer tensor, and for each axis a prefix, another slice, or an array of positions."""
    shape = draw(st.lists(st.integers(1, 5), min_size=0, max_size=4))
    index = []
    for size in shape:
        kind = draw(st.sampled_from(["prefix", "slice", "array"]))
        if kind == "prefix":
            index.append(slice(0, draw(st.integers(1, size))))
        elif kind == "slice":
            index.append(slice(draw(st.integers(0, size - 1)), None, draw(st.integers(1, 3))))
        else:
            chosen = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size, unique=True))
            index.append(np.array(chosen))
    return tuple(shape), tuple(index)


@settings(max_examples=100, deadline=None)
@given(case=indices(), seed=st.integers(0, 99))
def test_place_and_take_are_numpy_indexing(case, seed):
    shape, index = case
    rng = np.random.default_rng(seed)
    outer = rng.normal(size=shape).astype("float32")
    where = np.ix_(*[np.arange(size)[axis] for axis, size in zip(index, shape)]) if shape else ()
    inner = rng.normal(size=outer[where].shape).astype("float32")
    expected = outer.copy()
    expected[where] = inner
    placement = Placement(index, shape)
    np.testing.assert_array_equal(ops.convert_to_numpy(placement.place(inner, outer)), expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(placement.take(expected)), inner)
    assert placement.whole == (outer[where].shape == shape and np.array_equal(outer[where], outer))


def test_a_whole_placement_returns_the_base_itself():
    """No copy, no mask: an entry of equal shape costs nothing."""
    variable = keras.Variable(np.ones((2, 3), "float32"))
    placement = Placement((slice(None), slice(0, 3)), (2, 3))
    assert placement.whole
    np.testing.assert_array_equal(ops.convert_to_numpy(placement.place(variable.value, None)), np.ones((2, 3)))
