"""How the extension starts: silent, so that the motivated model computes what the base computes, or as it was built."""

import keras
import numpy as np
import pytest
from families import attention_net
from helpers import crossentropy, images, mlp, numpy, pair_of, randomise, resnet, values, vectors
from keras import layers, ops

import keras_motivation as km


def mobile(width, blocks):
    """Inverted residuals with depthwise convolutions and squeeze-and-excitation, as EfficientNet has them."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    for i in range(blocks):
        y = layers.Conv2D(2 * width, 1, use_bias=False, name=f"expand{i}")(x)
        y = layers.Activation("silu")(layers.BatchNormalization(name=f"expand_bn{i}")(y))
        y = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{i}")(y)
        gate = layers.Reshape((1, 1, 2 * width))(layers.GlobalAveragePooling2D()(y))
        gate = layers.Conv2D(width // 2, 1, activation="silu", name=f"reduce{i}")(gate)
        y = layers.Multiply()([y, layers.Conv2D(2 * width, 1, activation="sigmoid", name=f"gate{i}")(gate)])
        y = layers.Conv2D(width, 1, use_bias=False, name=f"project{i}")(y)
        x = layers.Add()([x, layers.Dropout(0.2)(layers.BatchNormalization(name=f"project_bn{i}")(y))])
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


@keras.saving.register_keras_serializable(__name__)
class Block(layers.Layer):
    """A residual block that hides its connections; a separable convolution has two kernels in one layer."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization(name="norm")
        self.conv = layers.SeparableConv2D(width, 3, padding="same", name="conv")

    def build(self, shape):
        self.norm.build(shape)
        self.conv.build(shape)

    def call(self, x, training=None):
        return x + self.conv(self.norm(x, training=training))


def composite(width, blocks):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(width, 3, name="stem")(inputs)
    for i in range(blocks):
        x = Block(width, name=f"block{i}")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


class Subclassed(keras.Model):
    def __init__(self, width, blocks):
        super().__init__()
        self.stem = layers.Conv2D(width, 3, name="stem")
        self.blocks = [Block(width, name=f"block{i}") for i in range(blocks)]
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(3, name="head")

    def call(self, x, training=None):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


def subclassed(width, blocks):
    model = Subclassed(width, blocks)
    model(np.zeros((1, 6, 6, 2), "float32"))
    return model


def decoder(width, blocks):
    """Transposed convolutions, whose kernels hold their outputs before their inputs, and a sum written as `+`."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2DTranspose(width, 3, padding="same", name="stem")(inputs)
    for i in range(blocks):
        x = x + layers.Conv2DTranspose(width, 3, padding="same", activation="gelu", name=f"up{i}")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


class Gated(layers.Layer):
    """A gated block, quadratic in two of its layers, that declares its norm last and normalises its result."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.gate, self.value = layers.Dense(width, name="gate"), layers.Dense(width, name="value")
        self.project, self.norm = layers.Dense(width, name="project"), layers.BatchNormalization(name="norm")

    def build(self, shape):
        for layer in (self.norm, self.gate, self.value, self.project):
            layer.build(shape)

    def call(self, x, training=None):
        y = self.norm(x, training=training)
        return x + self.project(ops.silu(self.gate(y)) * self.value(y))


def gated(width, blocks, hidden):
    """Gated blocks whose last operation is a product; as layers of their own, or in the open."""
    inputs = keras.Input((6, 6, 2))
    x = layers.Dense(width, name="stem")(inputs)
    for i in range(blocks):
        if hidden:
            x = Gated(width, name=f"block{i}")(x)
        else:
            x = layers.Add()(
                [x, layers.Multiply()([layers.Dense(width, name=f"a{i}")(x), layers.Dense(width, name=f"b{i}")(x)])]
            )
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))


class Flat(keras.Model):
    """Blocks that are no layers of their own: a list of layers in a row."""

    def __init__(self, width, blocks):
        super().__init__()
        self.stem, self.head = layers.Dense(width, name="stem"), layers.Dense(3, name="head")
        self.norms = [layers.BatchNormalization(name=f"norm{i}") for i in range(blocks)]
        self.denses = [layers.Dense(width, name=f"dense{i}") for i in range(blocks)]

    def call(self, x, training=None):
        x = self.stem(x)
        for norm, dense in zip(self.norms, self.denses):
            x = x + dense(ops.relu(norm(x, training=training)))
        return self.head(ops.mean(x, axis=(1, 2)))


def flat(width, blocks):
    model = Flat(width, blocks)
    model(np.zeros((1, 6, 6, 2), "float32"))
    return model


PAIRS = {
    "gated, hidden": (lambda: gated(4, 1, True), lambda: gated(4, 3, True)),
    "gated, open": (lambda: gated(4, 1, False), lambda: gated(6, 3, False)),
    "flat": (lambda: flat(4, 1), lambda: flat(4, 20)),
    "resnet": (lambda: resnet(4, 1), lambda: resnet(6, 3)),
    "mobile": (lambda: mobile(4, 1), lambda: mobile(6, 2)),
    "composite": (lambda: composite(4, 1), lambda: composite(6, 3)),
    "subclassed": (lambda: subclassed(4, 1), lambda: subclassed(4, 3)),
    "decoder": (lambda: decoder(4, 1), lambda: decoder(6, 2)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_the_first_motivated_batch_computes_what_the_base_computes_and_all_of_it_learns(kind):
    base, motivated = (randomise(build(), i) for i, build in enumerate(PAIRS[kind]))
    x, y = images(1)
    model = km.MotivatedModel(base, motivated)
    assert model.extension == "silent"
    np.testing.assert_allclose(
        ops.convert_to_numpy(model.motivated(x)), ops.convert_to_numpy(model.base(x)), rtol=1e-4, atol=1e-5
    )
    extension = [v for v in motivated.trainable_variables if not model.weights_map.is_covered(v)]
    outside = [~np.broadcast_to(p[1].mask, v.shape) if (p := model.weights_map.partner(v)) else True for v in extension]
    start = [numpy(v).copy() for v in extension]
    zero = sum(int((value[mask] == 0).sum()) for value, mask in zip(start, outside))
    assert 0 < zero < sum(v[m].size for v, m in zip(start, outside))  # no more is silent than must be
    model.compile(keras.optimizers.SGD(0.1), crossentropy(), motivation="always")
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    for variable, before, mask in zip(extension, start, outside):
        assert (numpy(variable) != before)[mask].any(), f"{variable.path} does not learn"


def test_widened_transformers_start_silent_up_to_layer_norm():
    model = km.MotivatedModel(randomise(attention_net(8, 2), 1), randomise(attention_net(12, 3, 2), 2))
    assert model.extension == "silent"
    assert model.weights_map.verify().nesting == "up to layer norm"
    attention = model.motivated.get_layer("attention1")
    kernels = {v.path.split("/")[-2]: numpy(v) for v in attention.weights if v.name == "kernel"}
    assert not kernels["attention_output"].any()  # the end of the new block, and of it no more
    assert kernels["query"].all()
    assert kernels["value"].all()
    deeper = km.MotivatedModel(randomise(attention_net(8, 2), 1), randomise(attention_net(8, 2, 3), 2))
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    np.testing.assert_allclose(
        deeper.motivated.predict(x, verbose=0), deeper.base.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_random_leaves_the_extension_as_it_was_built():
    base, motivated = randomise(resnet(4, 1), 1), randomise(resnet(6, 2), 2)
    before = values(motivated)
    model = km.MotivatedModel(base, motivated, extension="random")
    assert model.extension == "random"
    for old, new, variable in zip(before, values(model.motivated), motivated.weights):
        partner = model.weights_map.partner(variable)
        outside = ~np.broadcast_to(partner[1].mask, old.shape) if partner else np.ones(old.shape, bool)
        np.testing.assert_array_equal(new[outside], old[outside])


def test_a_trained_motivated_model_keeps_its_extension():
    """`initialize="motivated"` means that its weights are worth something; only an explicit choice silences them."""
    for extension, expected in ((None, "random"), ("silent", "silent")):
        base, motivated = randomise(resnet(4, 1), 1), randomise(resnet(6, 2), 2)
        before = values(motivated)
        model = km.MotivatedModel(base, motivated, initialize="motivated", extension=extension)
        assert model.extension == expected
        same = all(np.array_equal(old, new) for old, new in zip(before, values(model.motivated)))
        assert same == (expected == "random")


def test_an_extension_that_cannot_be_silenced_starts_random_with_a_warning():
    """An explicit map was not checked before, so this is the first that is heard of it."""

    def plain(depth):
        stack = [layers.Dense(4, "relu", name=f"d{i}") for i in range(depth)]
        return randomise(keras.Sequential([keras.Input((4,)), *stack, layers.Dense(2, name="head")]), depth)

    base, motivated = plain(1), plain(2)
    weights_map = km.WeightsMap.infer(base, motivated, check=False)
    before = numpy(motivated.get_layer("d1").kernel)
    with pytest.warns(UserWarning, match='starts as it was built, not silent: .*`extension="random"`'):
        model = km.MotivatedModel(base, motivated, weights_map)
    assert model.extension == "random"
    np.testing.assert_array_equal(numpy(motivated.get_layer("d1").kernel), before)


class EndsInRelu(Block):
    def call(self, x, training=None):
        return x + ops.relu(self.conv(self.norm(x, training=training)))


def ends_in_relu(how, blocks):
    inputs = keras.Input((4, 4, 3))
    x = inputs
    for i in range(blocks):
        activation = {"inside": "relu", "operation": ops.square}.get(how)
        y = layers.Conv2D(3, 1, name=f"conv{i}", activation=activation)(x)
        if how == "behind":
            y = layers.ReLU()(layers.BatchNormalization(name=f"norm{i}")(y))
        x = EndsInRelu(3, name=f"conv{i}")(x) if how == "hidden" else layers.Add()([x, y])
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("how", ["inside", "behind", "hidden", "operation"])
def test_blocks_that_end_in_a_relu_would_never_wake_up(how):
    """At zero, the gradient of a ReLU is zero: such a block would stay silent for ever."""
    with pytest.warns(UserWarning, match="not silent: no set of its weights .* lets gradients through"):
        model = km.MotivatedModel(ends_in_relu(how, 1), ends_in_relu(how, 2))
    assert model.extension == "random"


def test_frozen_weights_are_not_silenced_for_ever():
    base, motivated = randomise(resnet(4, 1), 1), randomise(resnet(4, 2), 2)
    motivated.get_layer("conv1").trainable = False
    before = numpy(motivated.get_layer("conv1").kernel)
    with pytest.warns(UserWarning, match=r"would have to be zero are frozen .*conv1/kernel"):
        model = km.MotivatedModel(base, motivated)
    assert model.extension == "random"
    np.testing.assert_array_equal(numpy(motivated.get_layer("conv1").kernel), before)


def test_loading_does_not_silence_again(tmp_path):
    x, y = vectors(2)
    model = km.MotivatedModel(*pair_of("both", mlp))
    model.compile("adam", crossentropy(), motivation="always")
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.extension == model.extension == "silent"
    for old, new in zip(values(model.motivated), values(loaded.motivated)):
        np.testing.assert_array_equal(new, old)


def test_unknown_choice():
    with pytest.raises(ValueError, match=r"`extension` must be one of \('silent', 'random'\).*'loud'"):
        km.MotivatedModel(*pair_of("both", mlp), extension="loud")


def test_the_probe_is_not_kept():
    """It holds a second copy of all weights."""
    for extension in ("silent", "random"):
        assert km.MotivatedModel(*pair_of("both", mlp), extension=extension).weights_map._probe is None
