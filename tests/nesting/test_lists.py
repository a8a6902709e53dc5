"""Unnamed blocks in a list of a subclassed model: the base's are the first ones, or the pair is refused."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_motivation as km


class Block(layers.Layer):
    """A residual block; further blocks may have something without weights, as stochastic depth is."""

    def __init__(self, width, noise=0.0, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.hidden = layers.Dense(2 * width, activation)
        self.out = layers.Dense(width)
        self.noise = layers.GaussianNoise(noise) if noise else None

    def call(self, x):
        y = self.out(self.hidden(self.norm(x)))
        return x + (y if self.noise is None else self.noise(y))


class Net(keras.Model):
    """As tutorials write it. What `call` does cannot be traced, so that there is no graph."""

    def __init__(self, depth, width=4, activations=()):
        super().__init__()
        self.first = layers.Dense(width)
        kinds = activations or ["relu"] * depth
        self.blocks = [Block(width, 0.1 * i, kind) for i, kind in enumerate(kinds)]
        self.head = layers.Dense(2)

    def call(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def built(*args, **kwargs):
    model = Net(*args, **kwargs)
    model(np.ones((2, 5), "float32"))
    return model


@pytest.mark.parametrize("depths", [(1, 2), (2, 5)])
def test_the_bases_blocks_are_the_first_ones(depths):
    base, motivated = map(built, depths)
    model = km.MotivatedModel(base, motivated)
    assert model.weights_map.verdict.nesting == "exact"
    assert model.extension == "silent"
    partners = {id(e.base): e.motivated for e in model.weights_map.entries}
    for inner, outer in zip(base.blocks, motivated.blocks):
        assert partners[id(inner.out.kernel)] is outer.out.kernel
    assert partners[id(base.head.kernel)] is motivated.head.kernel


def test_wider_and_deeper():
    assert km.WeightsMap.infer(built(1, 4), built(3, 6)).verdict.nesting == "up to layer norm"


def test_lists_of_different_blocks_are_refused():
    """Which of the further ones are new is open: those that are unlike may be anywhere between the others."""
    with pytest.raises(ValueError, match=r"1 unnamed Block layers \(block\w*\) against 3 in the motivated model"):
        km.WeightsMap.infer(built(1), built(3, activations=("relu", "tanh", "relu")))


def test_names_in_lists_decide():
    base, motivated = built(1), built(2)
    base.blocks[0].name = motivated.blocks[1].name = "the_block"
    motivated.blocks[0].name = "another_block"
    weights_map = km.WeightsMap.infer(base, motivated)
    partners = {id(e.base): e.motivated for e in weights_map.entries}
    assert partners[id(base.blocks[0].out.kernel)] is motivated.blocks[1].out.kernel
