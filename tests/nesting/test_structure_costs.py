"""What matching by structure costs: with the depth of both models, the comparisons of calls may grow as its square."""

import bare_models as bare
import keras
import pytest
from keras import layers

from keras_motivation import _keras
from keras_motivation.nesting.matching.structure.call_graph import Call
from keras_motivation.nesting.matching.structure.pairs import pairs_by_structure

DEPTHS = 8, 16
BUILDERS = {
    "transformer": bare.transformer,
    "residual series": bare.residual_series,
    "cross network": bare.cross,
    "perceptron": bare.perceptron,
}


def densely_joined(depth):
    inputs = keras.Input((5,))
    x = inputs
    for _ in range(depth):
        y = layers.Dense(4, "relu")(layers.LayerNormalization()(x))
        x = layers.Concatenate()([x, layers.Dense(2)(y)])
    return keras.Model(inputs, layers.Dense(3)(x))


def comparisons(monkeypatch, base, motivated, matches):
    """How often two calls are compared to match the graphs."""
    count = 0

    def counted(self, other, compare=Call.does_as):
        nonlocal count
        count += 1
        return compare(self, other)

    with monkeypatch.context() as patch:
        patch.setattr(Call, "does_as", counted)
        _, problems = pairs_by_structure(_keras.graph(base), _keras.graph(motivated), [])
    assert bool(problems) != matches
    return count


@pytest.mark.parametrize("case", BUILDERS)
def test_comparisons_grow_no_faster_than_the_square_of_the_depth(case, monkeypatch):
    build = BUILDERS[case]
    few, many = (comparisons(monkeypatch, build(n), build(2 * n), True) for n in DEPTHS)
    assert many <= 5 * few


@pytest.mark.parametrize("build", [densely_joined, bare.cross])
def test_so_they_do_where_nothing_matches(build, monkeypatch):
    few, many = (comparisons(monkeypatch, build(2 * n), build(n), False) for n in DEPTHS)
    assert many <= 5 * few
