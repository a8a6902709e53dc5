"""Width through joins: where the base's channels stand behind `Concatenate`, `Flatten`, gates and fused projections.

Models as their users write them. Each must be shown to nest, start silent, train as by explicit copies, and come back
from its file.
"""

import keras
import numpy as np
import pytest
from helpers import Alternate, assert_same_weights, numpy, randomise
from keras import layers, ops
from oracle import LiteralProcedure, alternate

import keras_motivation as km
from keras_motivation.nesting.placement import positions

RANDOM = np.random.default_rng(0)


def unet(width):
    """Encoder, decoder, and skips between the two."""

    def block(x, filters, name):
        return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)

    inputs = keras.Input((8, 8, 2))
    fine = block(inputs, width, "fine")
    coarse = block(layers.MaxPooling2D()(fine), 2 * width, "coarse")
    x = block(layers.MaxPooling2D()(coarse), 4 * width, "bottom")
    x = layers.Concatenate()([layers.UpSampling2D()(x), coarse])
    x = block(x, 2 * width, "up_coarse")
    x = layers.Concatenate()([layers.Conv2DTranspose(width, 2, strides=2, name="up")(x), fine])
    return keras.Model(inputs, layers.Conv2D(3, 1, name="classes")(block(x, width, "up_fine")))


def flattened(width):
    return keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            layers.Conv2D(width, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(2 * width, "relu", name="hidden"),
            layers.Dense(3, name="head"),
        ]
    )


def recurrent(layer):
    return keras.Sequential([keras.Input((4, 2)), layer, layers.Dense(3, name="head")])


def lstm(width):
    return recurrent(layers.LSTM(width, name="lstm"))


def bidirectional_gru(width):
    return recurrent(layers.Bidirectional(layers.GRU(width, name="gru"), name="both"))


def stacked(width):
    """The second layer takes what both directions of the first have joined, sequence by sequence."""
    return keras.Sequential(
        [
            keras.Input((4, 2)),
            layers.Bidirectional(layers.LSTM(width, return_sequences=True, name="lstm"), name="first"),
            layers.TimeDistributed(layers.Dense(width, "tanh", name="dense"), name="each"),
            layers.Bidirectional(layers.GRU(width, name="gru"), merge_mode="sum", name="second"),
            layers.Dense(3, name="head"),
        ]
    )


def tabular(width):
    """Embeddings of two categories beside numbers."""
    categories = [keras.Input((1,), dtype="int32", name=f"category{i}") for i in range(2)]
    numbers = keras.Input((3,), name="numbers")
    tables = [layers.Embedding(5, width, name=f"table{i}")(c) for i, c in enumerate(categories)]
    x = layers.Concatenate()([*[layers.Flatten()(t) for t in tables], layers.BatchNormalization(name="norm")(numbers)])
    x = layers.Dense(2 * width, "relu", name="hidden")(x)
    return keras.Model([*categories, numbers], layers.Dense(3, name="head")(x))


def fused_attention(heads, size=2):
    """Query, key and value in one kernel, taken apart by operations."""
    inputs = keras.Input((4, 3))
    x = layers.Dense(heads * size, name="embed")(inputs)
    fused = layers.Reshape((4, 3, heads, size))(layers.Dense(3 * heads * size, name="qkv")(x))
    query, key, value = [ops.transpose(fused, (2, 0, 3, 1, 4))[i] for i in range(3)]
    scores = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / size**0.5)
    y = layers.Reshape((4, heads * size))(ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3)))
    x = x + layers.Dense(heads * size, name="projection")(y)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D()(x)))


def shuffled(width, groups=2):
    """As in ShuffleNet: convolutions in groups, whose channels are shuffled; half of them pass by."""
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(groups * width, 1, name="stem")(inputs)
    x = layers.Conv2D(groups * width, 3, groups=groups, padding="same", activation="relu", name="first")(x)
    x = layers.Permute((1, 2, 4, 3))(layers.Reshape((4, 4, groups, width))(x))
    x = layers.Reshape((4, 4, groups * width))(x)
    x = layers.Conv2D(groups * width, 3, groups=groups, padding="same", name="second")(x)
    one, other = ops.split(x, 2, axis=-1)
    x = layers.Concatenate()([layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="deep")(one), other])
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


def densenet(blocks, growth):
    """Each layer's channels join those before it: more layers, and more channels of each, both move what follows."""
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    for stage in range(2):
        for block in range(blocks):
            y = layers.ReLU()(layers.BatchNormalization(momentum=0.8, name=f"{stage}_{block}_norm")(x))
            y = layers.Conv2D(growth, 3, padding="same", name=f"{stage}_{block}_conv")(y)
            x = layers.Concatenate()([x, y])
        x = layers.Conv2D(x.shape[-1] // 2, 1, name=f"{stage}_transition")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


@keras.saving.register_keras_serializable(__name__)
class Skip(layers.Layer):
    """A block of the user's own, with a join inside."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv, self.mix = layers.Conv2D(width, 3, padding="same", name="conv"), layers.Conv2D(width, 1, name="mix")

    def build(self, shape):
        self.conv.build(shape)
        self.mix.build((*shape[:-1], shape[-1] + self.width))
        self.scale = self.add_weight(shape=(self.width,), initializer="ones", name="scale")

    def call(self, x):
        return self.mix(ops.concatenate([x, ops.relu(self.conv(x))], axis=-1)) * self.scale

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def own_blocks(width):
    inputs = keras.Input((4, 4, 2))
    x = Skip(width, name="second")(Skip(width, name="first")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


@keras.saving.register_keras_serializable(__name__)
class Subclassed(keras.Model):
    """No graph: what `call` does is read by a symbolic call."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.one, self.other = layers.Dense(width, "relu", name="one"), layers.Dense(width, "tanh", name="other")
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        return self.head(ops.concatenate([self.one(x), self.other(x)], axis=-1))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def subclassed(width):
    model = Subclassed(width)
    model(np.ones((2, 5), "float32"))
    return model


CASES = {
    "U-Net": (lambda: unet(4), lambda: unet(6)),
    "Flatten after a convolution": (lambda: flattened(4), lambda: flattened(6)),
    "LSTM": (lambda: lstm(4), lambda: lstm(6)),
    "bidirectional GRU": (lambda: bidirectional_gru(4), lambda: bidirectional_gru(6)),
    "stacked": (lambda: stacked(2), lambda: stacked(3)),
    "tabular": (lambda: tabular(4), lambda: tabular(6)),
    "fused projection": (lambda: fused_attention(2), lambda: fused_attention(3)),
    "shuffled groups": (lambda: shuffled(4), lambda: shuffled(6)),
    "DenseNet, longer": (lambda: densenet(1, 2), lambda: densenet(2, 2)),
    "DenseNet, growth": (lambda: densenet(2, 2), lambda: densenet(2, 4)),
    "blocks of one's own": (lambda: own_blocks(2), lambda: own_blocks(3)),
    "subclassed": (lambda: subclassed(4), lambda: subclassed(6)),
}


def data(model, count):
    """Inputs of a model, and a class for each of its outputs' places."""
    specs = model.inputs if getattr(model, "inputs", None) else [keras.KerasTensor((None, 5))]
    shapes = [(count, *spec.shape[1:]) for spec in specs]
    x = [
        RANDOM.integers(0, 5, shape) if "int" in spec.dtype else RANDOM.normal(size=shape)
        for spec, shape in zip(specs, shapes)
    ]
    x = x[0] if len(x) == 1 else x
    return x, RANDOM.integers(0, 3, (count, *model(part(x, 0)).shape[1:-1]))


def part(arrays, start):
    """A batch."""
    return keras.tree.map_structure(lambda array: array[start : start + 4], arrays)


def optimizer():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize("case", CASES)
def test_nests_starts_silent_and_trains_as_by_copies(case, tmp_path):
    models = [build() for build in CASES[case]]
    copies = [build() for build in CASES[case]]
    pair = km.MotivatedModel(*[randomise(model, seed) for seed, model in enumerate(models)])
    assert pair.weights_map.verdict.nesting == "exact"
    assert pair.extension == "silent"
    assert not all(placement.prefix for placement in pair.weights_map.placements)  # else it would not belong here
    x, y = data(models[0], 24)
    inputs = part(x, 0)
    outputs = [ops.convert_to_numpy(model(inputs)) for model in (pair.base, pair.motivated)]
    np.testing.assert_allclose(*outputs, atol=1e-5)

    for copy, model in zip(copies, (pair.base, pair.motivated)):
        copy.set_weights([np.array(w) for w in model.get_weights()])
        copy.compile(optimizer(), loss())
    numbers = [{id(v): i for i, v in enumerate(model.weights)} for model in models]
    shared = [
        (
            copies[0].weights[numbers[0][id(e.base)]],
            copies[1].weights[numbers[1][id(e.motivated)]],
            positions(e.index, e.motivated.shape),
        )
        for e in pair.weights_map.entries
    ]
    oracle = LiteralProcedure(*copies, alternate(), "private", shared)
    oracle.train([(part(x, start), part(y, start)) for start in range(0, 24, 4)])

    pair.compile(optimizer(), loss(), motivation=Alternate())
    pair.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert_same_weights(pair.base, oracle.base)
    assert_same_weights(pair.motivated, oracle.motivated)

    pair.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    for model in (pair, loaded):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for one, other in zip(pair.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))
