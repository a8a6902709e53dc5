"""Pairs that match by name and shape and yet do not nest are refused, with the reason; their harmless kin are not."""

import keras
import pytest
from keras import layers

import keras_motivation as km


def image_net(width, side=4, join=None, flatten=True, strides=1, kernel=3, **conv):
    inputs = keras.Input((side, side, 3))
    x = layers.Conv2D(width, kernel, strides=strides, padding="same", name="conv", **conv)(inputs)
    if join is not None:
        fixed = layers.Conv2D(5, 1, name="fixed")(inputs)
        x = layers.Concatenate(name="join")([x, fixed] if join == "first" else [fixed, x])
        x = layers.Conv2D(4, 1, name="after")(x)
    x = layers.Flatten(name="flat")(layers.Dropout(0.1)(x)) if flatten else layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def recurrent(layer):
    return keras.Sequential([keras.Input((5, 3)), layer, layers.Dense(2, name="head")])


def grouped(width, groups):
    inputs = keras.Input((4, 4, 3))
    x = layers.GroupNormalization(groups, name="norm")(layers.Conv2D(width, 1, name="conv")(inputs))
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))


def attention(heads, key_dim):
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(heads, key_dim, name="attention")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def reshaped(width):
    inputs = keras.Input((4, 4, 3))
    x = layers.Reshape((1, -1), name="tokens")(layers.Conv2D(width, 1, name="conv")(inputs))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def convolved(width, groups, before=None):
    """A convolution in groups behind one that makes its channels."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(before or width, 1, name="conv")(inputs)
    x = layers.Conv2D(width, 3, groups=groups, name="groups")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))


def reshapes(width, *shapes):
    """An image that is reshaped, once or several times in a row; the last axis is given in parts of the width."""
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(width, 1, name="conv")(inputs)
    for i, (*others, last) in enumerate(shapes):
        x = layers.Reshape((*others, last if last < 0 else width * last), name=f"shape{i}")(x)
    x = layers.Dense(3, name="dense")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.Flatten()(x)))


def grouped_attention(queries, keys, size=4):
    inputs = keras.Input((5, 8))
    x = layers.GroupQueryAttention(size, queries, keys, name="attention")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


class Positions(layers.Layer):
    """A table of positions as vision transformers have: a grid, or relative to the middle."""

    def __init__(self, side, width, relative, **kwargs):
        super().__init__(**kwargs)
        if relative:
            self.table = self.add_weight(shape=(2 * side - 1, width), name="rel_pos_h")
        else:
            self.table = self.add_weight(shape=(1, side, side, width), name="pos_embed")

    def call(self, x):
        return x + keras.ops.mean(self.table)


def positions(side, width, relative=False):
    inputs = keras.Input((4, 4, 3))
    x = Positions(side, width, relative, name="positions")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))


REFUSED = {
    "groups": (lambda: grouped(4, 2), lambda: grouped(8, 2), "normalises groups of 2 channels in the base and 4"),
    "fewer groups": (
        lambda: convolved(8, 4),
        lambda: convolved(12, 2),
        "convolves 4 groups in the base and 2",
    ),
    "heads": (lambda: attention(2, 4), lambda: attention(2, 6), "key_dim=4 in the base and 6"),
    "query heads": (
        lambda: grouped_attention(4, 2),
        lambda: grouped_attention(4, 4),
        "2 query heads for each key head in the base and 1",
    ),
    "head size": (
        lambda: grouped_attention(4, 2, 4),
        lambda: grouped_attention(4, 2, 6),
        "head_dim=4 in the base and 6",
    ),
    "position grid": (
        lambda: positions(4, 3),
        lambda: positions(5, 3),
        r"grid of positions, \(1, 4, 4, 3\) in the base",
    ),
    "relative positions": (
        lambda: positions(4, 3, relative=True),
        lambda: positions(5, 3, relative=True),
        r"grid of positions, \(7, 3\) in the base and \(9, 3\)",
    ),
    "kernel size": (
        lambda: image_net(4, flatten=False, kernel=3),
        lambda: image_net(4, flatten=False, kernel=5),
        r"kernel_size=\(3, 3\) in the base and \(5, 5\)",
    ),
    "dilation": (
        lambda: image_net(4, flatten=False),
        lambda: image_net(4, flatten=False, dilation_rate=2),
        r"'conv' has dilation_rate=\(1, 1\) in the base and \(2, 2\)",
    ),
    "strides": (
        lambda: image_net(4, flatten=False, strides=2),
        lambda: image_net(4, flatten=False, strides=1),
        r"'conv' has strides=\(2, 2\) in the base and \(1, 1\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case):
    base, motivated, message = REFUSED[case]
    models = base(), motivated()
    with pytest.raises(ValueError, match=message):
        km.WeightsMap.infer(*models)
    with pytest.raises(ValueError, match=message):
        km.MotivatedModel(*models)
    km.WeightsMap.infer(*models, check=False)  # names and shapes alone do not see it


@pytest.mark.parametrize(
    ("base", "motivated"),
    [
        (lambda: image_net(4, flatten=False), lambda: image_net(6, flatten=False)),
        (lambda: image_net(4, side=1), lambda: image_net(6, side=1)),  # one pixel: flattening moves nothing
        (lambda: image_net(4), lambda: image_net(4)),
        (lambda: image_net(4, join="last", flatten=False), lambda: image_net(6, join="last", flatten=False)),
        (lambda: recurrent(layers.LSTM(3)), lambda: recurrent(layers.LSTM(3))),
        (lambda: recurrent(layers.SimpleRNN(3)), lambda: recurrent(layers.SimpleRNN(6))),
        (lambda: grouped(4, 2), lambda: grouped(8, 4)),
        (lambda: convolved(4, 2), lambda: convolved(8, 4)),
        (lambda: convolved(4, 1), lambda: convolved(8, 2)),
        (lambda: reshapes(4, (16, 1)), lambda: reshapes(6, (16, 1))),
        (lambda: reshapes(4, (4, 4), (4, 4, 1)), lambda: reshapes(6, (4, 4), (4, 4, 1))),
        (lambda: attention(2, 4), lambda: attention(3, 4)),
    ],
)
def test_harmless_kin_are_accepted(base, motivated):
    km.WeightsMap.infer(base(), motivated())


@pytest.mark.slow
def test_densenet_121_is_inside_densenet_169():
    """What a longer block adds is joined in front of what the base's next layers take."""
    models = [
        getattr(keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=3)
        for name in ("DenseNet121", "DenseNet169")
    ]
    weights_map = km.WeightsMap.infer(*models)
    assert len(weights_map.entries) == 606
    assert weights_map.verdict.nesting == "exact"
    (norm,) = [e for e in weights_map.entries if e.base.path == "bn/gamma"]  # 512 of 640, and 16 blocks of 32
    assert norm.index[0].tolist() == [*range(512), *range(640, 1152)]


@pytest.mark.slow
def test_resnet34_is_not_inside_resnet50():
    def resnet(kernels, widths):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
        for i, (kernel, width) in enumerate(zip(kernels, widths)):
            x = layers.Conv2D(width, kernel, padding="same", name=f"block_conv{i}")(x)
        return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))

    with pytest.raises(ValueError, match="a dimension of the base is larger"):
        km.WeightsMap.infer(resnet((3, 3), (8, 8)), resnet((1, 3, 1), (8, 8, 32)))


class ReZero(layers.Layer):
    """A block whose first weight is a scalar."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.alpha = self.add_weight(shape=(), name="alpha", initializer="zeros")
        self.dense = layers.Dense(width, "relu", name="dense")

    def call(self, x):
        return x + self.alpha * self.dense(x)


def test_a_scalar_may_be_the_first_weight_of_what_grows():
    def net(width, blocks):
        inputs = keras.Input((4,))
        x = layers.Dense(width, name="embed")(inputs)
        for i in range(blocks):
            x = ReZero(width, name=f"block{i}")(x)
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    model = km.MotivatedModel(net(4, 1), net(6, 2))
    assert model.weights_map.verdict.nesting == "exact"
    assert model.extension == "silent"


class Stage(layers.Layer):
    """Blocks in one layer, each with a table of relative positions, and a projection behind them as in Swin."""

    def __init__(self, blocks, side, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Positions(side, 3, True, name=f"block{i}") for i in range(blocks)]
        self.down = layers.Dense(4, name="down")

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.down(x)


def test_a_deeper_stage_in_one_layer_is_no_other_grid():
    """Its weights, one after the other, are not those of the base: further blocks stand before the projection."""

    def net(blocks, side=4):
        inputs = keras.Input((4, 4, 3))
        x = Stage(blocks, side, name="stage")(inputs)
        return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))

    assert km.WeightsMap.infer(net(2), net(3)).verdict.nesting == "exact"
    with pytest.raises(ValueError, match="grid of positions"):
        km.WeightsMap.infer(net(2), net(3, 5))
