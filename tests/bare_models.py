"""Models as tutorials write them: depth is a plain loop, and no layer has a name.

Each block is built in a name scope, which changes paths and no names: so tests know which layers are which block.
"""

import re
from collections import defaultdict

import keras
import numpy as np
from keras import layers

from keras_motivation import _keras


def at(place):
    """Where what follows is built: equal in both models for what corresponds."""
    return keras.name_scope(f"at_{place}")


class Positions(layers.Layer):
    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], name="table")

    def call(self, x):
        return x + self.table


class StochasticDepth(layers.Layer):
    """As the tutorials have it, without its effect in training, which is random."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x):
        return x


def encoder(x, width, heads=2, rate=0.0):
    """A pre-norm transformer block."""
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.MultiHeadAttention(heads, 4, dropout=0.0)(y, y)
    x = layers.Add()([StochasticDepth(rate)(y), x])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(2 * width, activation="gelu")(y)
    y = layers.Dense(width)(layers.Dropout(0.0)(y))
    return layers.Add()([StochasticDepth(rate)(y), x])


def transformer(depth, width=6, heads=2):
    inputs = keras.Input((5,), dtype="int32")
    x = Positions()(layers.Embedding(20, width)(inputs))
    for i in range(depth):
        with at(f"block{i}"):
            x = encoder(x, width, heads)
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def compact_transformer(depth):
    """Convolutions make the tokens, a learned average is taken of them, and the rate of stochastic depth rises."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in (4, 6):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, activation="relu")(x)
        x = layers.MaxPooling2D(3, 2, "same")(x)
    x = Positions()(layers.Reshape((4, 6))(x))
    for i, rate in enumerate(np.linspace(0, 0.1, depth)):
        with at(f"block{i}"):
            x = encoder(x, 6, rate=rate)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    weights = keras.ops.softmax(layers.Dense(1)(x), axis=1)
    x = keras.ops.matmul(keras.ops.transpose(weights, (0, 2, 1)), x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def conv_mixer(depth):
    def activated(x):
        return layers.BatchNormalization()(layers.Activation("gelu")(x))

    inputs = keras.Input((8, 8, 3))
    x = activated(layers.Conv2D(4, 2, strides=2)(layers.Rescaling(1 / 255)(inputs)))
    for i in range(depth):
        with at(f"block{i}"):
            x0 = x
            x = layers.DepthwiseConv2D(3, padding="same")(x)
            x = layers.Add()([activated(x), x0])
            x = activated(layers.Conv2D(4, 1)(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def residual_series(depth, filters=4):
    inputs = keras.Input((12, 2))
    x = layers.Conv1D(filters, 3, padding="same", activation="relu")(inputs)
    for i in range(depth):
        with at(f"block{i}"):
            y = layers.Conv1D(filters, 3, padding="same")(x)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            y = layers.Conv1D(filters, 3, padding="same")(y)
            x = layers.ReLU()(layers.BatchNormalization()(y) + x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def cross(depth):
    """A cross network, whose first input enters each block."""
    inputs = keras.Input((6,))
    x0 = x = layers.BatchNormalization()(inputs)
    for i in range(depth):
        with at(f"block{i}"):
            x = x0 * layers.Dense(6)(x) + x
    return keras.Model(inputs, layers.Dense(3)(x))


def resnet(blocks, widths=(3, 4)):
    """The first block of each further stage has a stride and a projection."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(widths[0], 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for stage, width in enumerate(widths):
        for i in range(blocks):
            with at(f"stage{stage}_block{i}"):
                strides = 2 if stage and i == 0 else 1
                y = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
                y = layers.ReLU()(layers.BatchNormalization()(y))
                y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
                if strides > 1:
                    x = layers.BatchNormalization()(layers.Conv2D(width, 1, strides, use_bias=False)(x))
                x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def strided_last(blocks, width=3, stages=2):
    """Pre-activation blocks; the last one of each stage has the stride."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 3, padding="same")(inputs)
    for stage in range(stages):
        for i in range(blocks):
            with at(f"stage{stage}_block{'_last' if i == blocks - 1 else i}"):
                strides = 2 if i == blocks - 1 else 1
                y = layers.ReLU()(layers.BatchNormalization()(x))
                y = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(y)
                y = layers.Conv2D(width, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(y)))
                x = layers.Add()([layers.MaxPooling2D(1, 2)(x) if strides > 1 else x, y])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def projected(depth):
    """Plain convolutions in a loop, as one of the two branches of a sum; the other one is a projection."""
    inputs = keras.Input((8, 8, 3))
    x = projection = layers.Conv2D(3, 3, padding="same", activation="relu")(inputs)
    for i in range(depth):
        with at(f"block{i}"):
            x = layers.BatchNormalization()(layers.SeparableConv2D(3, 3, padding="same")(layers.ReLU()(x)))
    x = layers.Add()([layers.MaxPooling2D(3, 2, "same")(x), layers.Conv2D(3, 1, 2, padding="same")(projection)])
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def perceptron(depth, width=4, features=5):
    model = keras.Sequential([keras.Input((features,))])
    for _ in range(depth):
        model.add(layers.Dense(width, activation="relu"))
        model.add(layers.Dropout(0.0))
    model.add(layers.Dense(3))
    return model


def wide_and_deep(depth):
    """The inputs are joined to what the hidden layers make of them."""
    inputs = keras.Input((6,))
    x = inputs
    for i in range(depth):
        with at(f"block{i}"):
            x = layers.Dense(4, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([inputs, x])))


def named(model):
    """The same model, with a name for each layer: where it was built, and which one of its class it is there.

    The last layer is always the head.
    """
    kinds = defaultdict(int)
    numbered = [(_keras.auto_name(layer), layer) for layer in model.layers if layer.variables]
    for (kind, _), layer in sorted(numbered, key=lambda line: line[0]):
        place = re.search(r"at_\w+", layer.path)
        name = "head" if layer is model.layers[-1] else f"{place[0] if place else 'around'}_{kind}"
        layer.name = f"{name}_{'abcdefgh'[kinds[name]]}"
        kinds[name] += 1
    return model
