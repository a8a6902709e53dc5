"""Properties that hold for all inputs of a kind, tried on many by hypothesis."""

import math

import numpy as np
import pytest
from helpers import mlp
from keras import ops

import keras_motivation as km
from keras_motivation.nesting.placement import Placement

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st


def observed(condition, losses):
    return [bool(condition.observe(np.float32(loss))) for loss in losses]


def streak_decisions(k, losses):
    """The rule in words: the last k losses each fell below the one before; nothing counts across a bad loss."""
    out = []
    for i in range(len(losses)):
        window = losses[max(0, i - k) : i + 1]
        out.append(len(window) == k + 1 and all(map(math.isfinite, window)) and all(np.diff(window) < 0))
    return out


loss_values = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]),  # few values, so that equal losses and long falls happen
    st.floats(-10, 10, width=32),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 4), losses=st.lists(loss_values, max_size=25))
def test_loss_streak_follows_the_rule(k, losses):
    assert observed(km.LossStreak(k), losses) == streak_decisions(k, losses)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(3, 20), k=st.integers(1, 3))
def test_loss_streak_on_a_steady_fall(n, k):
    assert observed(km.LossStreak(k), list(range(n, 0, -1))) == [i >= k for i in range(n)]


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


@settings(max_examples=50, deadline=None)  # each new shape compiles anew on JAX
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


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 2), st.tuples(*[st.integers(1, 3)] * 2))
def test_a_map_is_found_exactly_where_one_exists(widths, depths):
    """With equal width, any depth nests; with a deeper net, widths only grow."""
    base, motivated = mlp(widths[0], depths[0]), mlp(widths[1], depths[1])
    if widths[0] <= widths[1] and depths[0] <= depths[1]:
        weights_map = km.WeightsMap.infer(base, motivated)
        assert len(weights_map.entries) == len(base.weights)
        covered = sum(int(np.prod(v.shape)) for v in base.weights) / sum(
            int(np.prod(v.shape)) for v in motivated.weights
        )
        assert weights_map.covered_share == pytest.approx(covered)
    else:
        with pytest.raises(ValueError, match="do not map into"):
            km.WeightsMap.infer(base, motivated)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 99))
def test_elsewhere_keeps_the_counts_and_leaves_the_places(epochs, seed):
    places = km.Schedule.elsewhere(epochs, seed=seed).places
    ends = np.cumsum([len(epoch) for epoch in epochs])
    for epoch, found in zip(epochs, np.split(places, ends[:-1])):
        epoch = np.array(epoch)
        assert found.sum() == epoch.sum()
        assert (found & epoch).sum() == max(0, 2 * epoch.sum() - len(epoch))  # in common only what must be
