"""Which channels of a wider weight the base gets: the right ones, if the motivated model without all else is the base.

Most tests look from outside: take the base's weights out of a random wide net, set everything that the map does not
name to zero, and compare what the two models compute.
"""

from functools import partial

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, numpy, randomise, resnet, vectors
from keras import layers, ops

import keras_motivation as km
from keras_motivation import _keras
from keras_motivation.nesting.matching.names import own_variables
from keras_motivation.nesting.placement import positions

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

# Symbolic graphs, and so the choice, are the same on all backends, but JAX compiles anew for each shape.
not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="a minute to compile, and nothing of JAX in it"
)


def infer(base, motivated, select):
    """Without the probe: what it would test, these tests test themselves."""
    return km.WeightsMap.infer(base, motivated, select=select, check=False)


def at_random(seed=0):
    """A `select` that picks channels at random, and hardly ever the first ones."""
    rng = np.random.default_rng(seed)
    return lambda base, motivated, axis: rng.choice(motivated.shape[axis], base.shape[axis], replace=False)


def chosen(weights_map, name):
    """For each axis of the motivated weight of that name, the positions that the base gets."""
    (entry,) = [e for e in weights_map.entries if e.motivated.path.endswith(name)]
    return [axis.tolist() for axis in positions(entry.index, entry.motivated.shape)]


def lively(model, seed=0):
    """Random weights, large enough that the net's output depends on its input."""
    for variable in randomise(model, seed).weights:
        if len(variable.shape) > 1:
            variable.assign(numpy(variable) * 4)
    return model


def silence_extension(weights_map):
    """Sets all that the map does not name to zero; data constants and seeds stay."""
    for layer in _keras.all_layers(weights_map.motivated):
        for variable in own_variables(layer):
            found = weights_map.partner(variable)
            value = np.zeros(variable.shape, numpy(variable).dtype)
            if found is not None:
                (entry,) = [e for e in weights_map.entries if e.motivated is variable]
                kept = np.ix_(*positions(entry.index, variable.shape)) if variable.shape else ()
                value[kept] = numpy(variable)[kept]
            variable.assign(value)


def assert_nested(base, motivated, weights_map, seed=0):
    models = base, motivated
    weights_map.copy_to_base()
    silence_extension(weights_map)
    constants = [
        [v for la in _keras.all_layers(m) if _keras.is_normalization(la) for v in la.variables] for m in models
    ]
    for inner, outer in zip(*constants):
        outer.assign(numpy(inner))
    rng = np.random.default_rng(seed)
    x = keras.tree.map_structure(
        lambda t: rng.integers(0, 4, (2, *t.shape[1:])) if "int" in t.dtype else rng.normal(size=(2, *t.shape[1:])),
        _keras.inputs_struct(base),
    )
    # JAX compiles each operation that it meets outside of a compiled function.
    calls = [model.predict_on_batch if keras.backend.backend() == "jax" else model for model in models]
    expected, actual = [keras.tree.flatten(call(x)) for call in calls]
    for one, other in zip(actual, expected):
        one, other = ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        assert np.ptp(other, axis=0).max() > 1e-4  # nets that compute nothing would agree, too
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def residual(width, squeeze, blocks=1):
    """Convolutions, batch norm, squeeze-and-excite, depthwise and separable kernels, residual sums of two kinds."""
    inputs = keras.Input((4, 4, 2))
    x = layers.Rescaling(2.0)(layers.Normalization()(inputs))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="stem")(x)
    for i in range(blocks):
        y = layers.BatchNormalization(name=f"norm{i}")(x)
        y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"depthwise{i}")(y)
        gate = layers.Reshape((1, 1, width))(layers.GlobalAveragePooling2D()(y))
        gate = layers.Conv2D(squeeze, 1, activation="silu", name=f"squeeze{i}")(gate)
        gate = layers.Conv2D(width, 1, activation="sigmoid", name=f"excite{i}")(gate)
        y = layers.SpatialDropout2D(0.1)(y * gate)
        x = layers.Add()([x, layers.Conv2D(width, 1, name=f"project{i}")(y)])
    short = layers.Conv2D(width + 2, 1, strides=2, name="short")(x)
    x = layers.SeparableConv2D(width + 2, 3, padding="same", name="separable")(layers.MaxPooling2D()(x))
    x = layers.PReLU(shared_axes=[1, 2], name="prelu")(2 * x + short)
    return keras.Model(inputs, layers.Dense(3, name="head")(ops.mean(x, axis=(1, 2))))


def perceptron(*widths):
    """No layer has a name."""
    x = inputs = keras.Input((5,))
    for width in widths:
        x = layers.Activation("relu")(layers.BatchNormalization()(layers.Dense(width)(x)))
    return keras.Model(inputs, layers.Dense(3)(x))


def transformer(width, heads, hidden, norm=False):
    x = inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(4, width, name="embed")(x)
    y = layers.LayerNormalization(name="norm")(x) if norm else x
    x = x + layers.MultiHeadAttention(heads, 2, value_dim=heads if norm else None, name="attention")(y, y)
    y = layers.EinsumDense("abc,cd->abd", (None, hidden), bias_axes="d", activation="gelu", name="up")(x)
    x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(width, name="down")(y))])
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling1D()(x)))


def nested(width, name):
    """A functional backbone with a dictionary of inputs, called twice, and a Sequential within."""
    pair = {"left": keras.Input((5,), name="left"), "right": keras.Input((3,), name="right")}
    tail = keras.Sequential([keras.Input((width,)), layers.Dense(width + 1, name="tail"), layers.ReLU()])
    x = layers.Dense(width, name="a")(pair["left"]) + layers.Dense(width, name="b")(pair["right"])
    backbone = keras.Model(pair, tail(x), name=name)
    left, right = keras.Input((5,)), keras.Input((3,))
    x = layers.Multiply()([backbone({"left": left, "right": right}), backbone({"left": left * 2.0, "right": right})])
    return keras.Model([left, right], layers.Dense(3, name="head")(x))


def shared(width):
    """One layer in two places, from the same channels to the same channels."""
    inputs = keras.Input((5,))
    twice = layers.Dense(width, "tanh", name="twice")
    return keras.Model(inputs, layers.Dense(3, name="head")(twice(twice(layers.Dense(width, name="first")(inputs)))))


NETS = {
    "residual": (lambda: residual(4, 2), lambda: residual(7, 3)),
    "deeper and wider": (lambda: resnet(4, 1), lambda: resnet(6, 2)),
    "unnamed": (lambda: perceptron(3, 5), lambda: perceptron(8, 7)),
    "sequential": tuple(
        lambda w=w: keras.Sequential([keras.Input((5,)), layers.Dense(w, "elu"), layers.Dense(3)]) for w in (2, 6)
    ),
    "nested": (lambda: nested(3, "small"), lambda: nested(6, "large")),
    "shared": (lambda: shared(3), lambda: shared(6)),
    "attention": (lambda: transformer(4, 2, 3), lambda: transformer(6, 4, 5)),
}


@pytest.mark.parametrize("net", NETS)
def test_the_motivated_model_without_its_extension_is_the_base(net):
    base, motivated = (build() for build in NETS[net])
    for select in ("importance", at_random(), "prefix"):
        lively(motivated)
        weights_map = infer(base, motivated, select)
        assert all(p.prefix for p in weights_map.placements) == (select == "prefix")
        assert_nested(base, motivated, weights_map)


def test_one_wrong_axis_would_be_seen():
    """The test above can fail: a consumer that takes other channels than its producer makes."""
    base, motivated = (build() for build in NETS["unnamed"])
    lively(motivated)
    weights_map = infer(base, motivated, at_random())
    entries = [km.Entry(e.base, e.motivated, e.index) for e in weights_map.entries]
    inner, outer = entries[6].base, entries[6].motivated  # the second kernel
    entries[6] = km.Entry(inner, outer, (slice(0, 3), entries[6].index[1]))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_nested(base, motivated, km.WeightsMap(base, motivated, entries))


CHAINS = {
    "1d": lambda w: [keras.Input((6, 2)), layers.Conv1D(w, 2), layers.DepthwiseConv1D(2), layers.SeparableConv1D(w, 2)],
    "transposed": lambda w: [keras.Input((3, 3, 2)), layers.Conv2DTranspose(w, 2), layers.Conv2DTranspose(w + 1, 2)],
    "3d": lambda w: [keras.Input((2, 2, 2, 1)), layers.Conv3D(w, 2, padding="same"), layers.AveragePooling3D(1)],
    "resized": lambda w: [
        *[keras.Input((3, 3, 2)), layers.Conv2D(w, 1), layers.ZeroPadding2D(), layers.Cropping2D(((0, 1), (0, 0)))],
        *[layers.UpSampling2D(), layers.Resizing(4, 4), layers.Reshape((16, w)), layers.ReLU(), layers.Identity()],
    ],
    "mixer": lambda w: [
        *[keras.Input((4, 3)), layers.Dense(w), layers.Permute((2, 1)), layers.Dense(4), layers.Permute((2, 1))],
    ],
    "einsum": lambda w: [
        *[keras.Input((4, 3)), layers.EinsumDense("...x,xyz->...yz", (w, 2), bias_axes="yz")],
        *[layers.EinsumDense("abyz,yzd->abd", (4, w + 1)), layers.EinsumDense("ab...,bc->ac...", 4)],
    ],
    "per channel": lambda w: [
        *[keras.Input((4,)), layers.Dense(w), layers.PReLU(), layers.RepeatVector(2), layers.ZeroPadding1D()],
        *[layers.GroupNormalization(-1)],
    ],
}


@not_on_jax
def test_layers_that_are_known():
    for chain in CHAINS.values():
        base, motivated = [keras.Sequential([*chain(width), layers.Dense(2)]) for width in (3, 6)]
        lively(motivated)
        weights_map = infer(base, motivated, at_random())
        assert not all(p.prefix for p in weights_map.placements)
        assert_nested(base, motivated, weights_map)


def test_norms_over_wider_channels_take_the_same_ones():
    """They see the extension, with a prefix as with any other choice, so only the positions can be compared."""
    norms = [layers.LayerNormalization, layers.RMSNormalization, partial(layers.GroupNormalization, 1)]
    base, motivated = [
        keras.Sequential([keras.Input((4,)), layers.Dense(w), *[norm() for norm in norms], layers.Dense(2)])
        for w in (3, 6)
    ]
    weights_map = infer(base, motivated, lambda *_: [5, 0, 2])
    for entry in weights_map.entries[:-1]:
        assert [0, 2, 5] in chosen(weights_map, entry.motivated.path)


def test_attention_with_layer_norm():
    base, motivated = transformer(4, 2, 3, norm=True), randomise(transformer(6, 4, 5, norm=True))
    weights_map = infer(base, motivated, at_random())
    channels, heads = chosen(weights_map, "embed/embeddings")[1], chosen(weights_map, "query/kernel")[1]
    assert len(channels) == 4
    assert len(heads) == 2
    assert chosen(weights_map, "norm/gamma") == [channels]
    for name in ("query", "key", "value"):
        assert chosen(weights_map, f"{name}/kernel")[:2] == [channels, heads]
    assert chosen(weights_map, "attention_output/kernel")[::2] == [heads, channels]
    assert chosen(weights_map, "value/kernel")[2] == chosen(weights_map, "attention_output/kernel")[1]


def test_channels_first():
    def net(width):
        inputs = keras.Input((2, 4, 4))
        x = layers.Conv2D(width, 3, data_format="channels_first", name="conv")(inputs)
        x = layers.BatchNormalization(axis=1, name="norm")(x)
        x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    weights_map = infer(net(3), net(5), lambda *_: [4, 1, 2])
    assert chosen(weights_map, "conv/kernel")[3] == chosen(weights_map, "norm/gamma")[0] == [1, 2, 4]
    assert chosen(weights_map, "head/kernel")[0] == [1, 2, 4]


@not_on_jax
@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)).map(sorted), min_size=1, max_size=3),
    join=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_choice_nests_at_any_width(sizes, join, seed):
    def net(which):
        x = inputs = keras.Input((3,))
        for i, width in enumerate(size[which] for size in sizes):
            y = layers.Dense(width, "leaky_relu", name=f"dense{i}")(x)
            x = layers.Add()([y, layers.Dense(width, name=f"side{i}")(inputs)]) if join else y
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    base, motivated = net(0), lively(net(1), seed)
    assert_nested(base, motivated, infer(base, motivated, at_random(seed)), seed)


def test_importance_is_the_largest_l1_norm():
    base, motivated = perceptron(2), perceptron(5)
    kernel = np.array([[3, -1, 0, 1, 1], [0, -4, 1, 1, 0], *[[0] * 5] * 3], "float32")  # norms 3, 5, 1, 2, 1
    motivated.weights[0].assign(kernel)
    weights_map = infer(base, motivated, "importance")
    assert chosen(weights_map, motivated.weights[0].path) == [[0, 1, 2, 3, 4], [0, 1]]
    motivated.weights[0].assign(kernel[:, ::-1])
    assert chosen(infer(base, motivated, "importance"), motivated.weights[0].path)[1] == [3, 4]
    motivated.weights[0].assign(np.ones((5, 5), "float32"))  # ties: the first
    assert chosen(infer(base, motivated, "importance"), motivated.weights[0].path)[1] == [0, 1]


def test_importance_sums_over_all_producers_of_a_channel():
    """Channel 3 is the largest in the stem, channel 1 in the blocks' kernels; the block that the base lacks counts."""
    base, motivated = resnet(1, 1, norm=False), resnet(4, 2, norm=False)

    def give(stem, conv0, conv1):
        for name, scores in (("stem", stem), ("conv0", conv0), ("conv1", conv1)):
            kernel = motivated.get_layer(name).kernel
            kernel.assign(np.broadcast_to(scores, kernel.shape) / np.prod(kernel.shape[:-1]))
        weights_map = infer(base, motivated, "importance")
        assert chosen(weights_map, "conv0/kernel")[2] == chosen(weights_map, "stem/kernel")[3]
        return chosen(weights_map, "stem/kernel")[3]

    assert give([0, 0, 0, 3], [0, -2, 0, 0], [0, 0, 0, 0]) == [3]
    assert give([0, 0, 0, 3], [0, -2, 0, 0], [0, 2, 0, 0]) == [1]


def test_a_function_is_asked_once_for_each_group():
    base, motivated = resnet(4, 1), resnet(6, 2)
    asked = []

    def select(inner, outer, axis):
        asked.append((inner.path, outer.path, axis))
        assert inner is base.get_layer("stem").kernel
        assert outer is motivated.get_layer("stem").kernel
        return np.array([5, 0, 2, 1])

    weights_map = infer(base, motivated, select)
    assert asked == [("stem/kernel", "stem/kernel", 3)]
    assert chosen(weights_map, "norm0/moving_mean") == [[0, 1, 2, 5]]
    assert chosen(weights_map, "conv0/kernel")[2:] == [[0, 1, 2, 5]] * 2


@pytest.mark.parametrize("select", ["importance", at_random()], ids=["importance", "random"])
def test_training_a_carved_pair(select):
    """Three batches on both sides of a switch: the base moves, and stays inside the motivated model where it was."""
    base, motivated = perceptron(4, 3), randomise(perceptron(8, 6))
    before = [numpy(v) for v in motivated.weights]
    weights_map = infer(base, motivated, select)
    model = km.MotivatedModel(base, motivated, weights_map, initialize="motivated", statistics="shared")
    for entry, old in zip(weights_map.entries, before):
        np.testing.assert_array_equal(numpy(entry.base), old[np.ix_(*positions(entry.index, old.shape))])
    model.compile("adam", crossentropy(), motivation=Alternate())
    x, y = vectors(batches=3)
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    assert history["motivated"][0] == pytest.approx(1 / 3)
    for entry, old, new in zip(weights_map.entries, before, model.motivated.weights):
        kept = np.ix_(*positions(entry.index, old.shape))
        np.testing.assert_array_equal(numpy(entry.base), numpy(new)[kept])
        assert not np.array_equal(numpy(new)[kept], old[kept])
    again = km.WeightsMap.from_config(weights_map.get_config(), base, motivated)
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(again.placements, weights_map.placements))


def chain(*middle, units=2):
    """A function of the width: a dense layer, what is given (as functions of the width, or partials), and a head."""

    def build(width):
        between = [layer() if isinstance(layer, partial) else layer(width) for layer in middle]
        return keras.Sequential([keras.Input((4, 3)), layers.Dense(width), *between, layers.Dense(units)])

    return build


class Reversed(layers.Dense):
    """A Dense that is none: it puts its channels out backwards."""

    def call(self, inputs):
        return ops.flip(super().call(inputs), axis=-1)


class Subclassed(keras.Model):
    """Asks for values, so that no symbolic call can show what it does."""

    def __init__(self, width):
        super().__init__(name="mine")
        self.first, self.head = layers.Dense(width, name="first"), layers.Dense(2, name="head")
        self(np.ones((1, 3), "float32"))

    def call(self, x):
        return self.head(ops.convert_to_tensor(ops.convert_to_numpy(self.first(x))))


def scaled(width):
    x = keras.Input((3,))
    return keras.Model(x, layers.Dense(2)(layers.Dense(width)(x) * np.arange(width, dtype="float32")))


def two_heads(widths, join):
    inputs = keras.Input((3,))
    a, b = layers.Dense(widths[0], name="a")(inputs), layers.Dense(widths[1], name="b")(inputs)
    a, b = (a + b, a + b) if join else (a, b)
    return keras.Model(inputs, [layers.Dense(2, name="head_a")(a), layers.Dense(2, name="head_b")(b)])


REFUSED = {
    "subclassed model": (Subclassed, r"through model 'mine' \(Subclassed\), which is not functional"),
    "subclassed layer": (chain(lambda w: Reversed(w, name="own")), r"through operation 'flip.*' \(Flip\)"),
    "lambda": (
        chain(partial(layers.Lambda, lambda x: ops.sort(x), name="any")),
        r"through operation 'sort.*' \(Sort\)",
    ),
    "groups": (
        chain(partial(layers.GroupNormalization, 3, name="groups"), lambda w: layers.Dense(w)),
        r"axis 0 of '.*groups/gamma' \(3 of 6\) is joined or fused otherwise",
    ),
    "reshape": (
        chain(partial(layers.Reshape, (-1, 2), name="shape")),
        r"axis 1 of '.*dense.*/kernel' \(3 of 6\) is joined or fused otherwise",
    ),
    "activation": (
        chain(partial(layers.Activation, lambda x: x, name="act")),
        r"'act' \(Activation\), whose activation is not one of Keras's",
    ),
    "constant": (scaled, r"through operation 'multiply.*' \(Multiply\)"),
    "outputs": (lambda w: chain(units=w)(3), "through the outputs of model 'sequential"),
    "inputs": (lambda w: keras.Sequential([keras.Input((w,)), layers.Dense(2)]), "through the inputs of model"),
    "vocabulary": (
        lambda w: keras.Sequential([keras.Input((2,)), layers.Embedding(w, 2, name="words"), layers.Dense(2)]),
        r"axis 0 of '.*words/embeddings' \(3 of 6\) pass through layer 'words' \(Embedding\)",
    ),
    "kernel size": (lambda w: keras.Sequential([keras.Input((9, 1)), layers.Conv1D(2, w)]), r"axis 0 of '.*conv1d"),
    "numbers": (lambda w: two_heads((2, 3) if w == 3 else (6, 6), w == 6), "another number is chosen: 2 of 6, 3 of 6"),
}


@not_on_jax
def test_refused_where_channels_cannot_be_followed():
    for build, message in REFUSED.values():
        base, motivated = build(3), build(6)
        for select in ("importance", at_random()):
            with pytest.raises(ValueError, match=message) as error:
                infer(base, motivated, select)
            assert 'Use `select="prefix"`, or pass an explicit map' in str(error.value)


def test_a_head_that_grows_inside_of_a_composite_layer_is_refused():
    hub = pytest.importorskip("keras_hub")

    def net(width):
        x = keras.Input((4, 3))
        y = hub.layers.TransformerEncoder(8, 1, name="encoder")(layers.Dense(width, name="embed")(x))
        return keras.Model(x, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(y)))

    message = r"query/kernel' \(4 of 6\) pass through layer 'self_attention_layer' \(MultiHeadAttention\)"
    with pytest.raises(ValueError, match=message):
        infer(net(4), net(6), "importance")


def test_lora_is_refused():
    models = perceptron(3), perceptron(6)
    for model in models:
        next(layer for layer in model.layers if isinstance(layer, layers.Dense)).enable_lora(2)
    with pytest.raises(ValueError, match=r"lora_kernel_b' \(3 of 6\) pass through layer 'dense"):
        infer(*models, "importance")


def test_what_did_not_grow_may_pass_through_anything():
    def net(width):
        inputs = keras.Input((4, 3))
        x = layers.Flatten()(layers.LSTM(3, return_sequences=True)(inputs))
        x = layers.Dense(width, name="wide")(layers.Concatenate()([x, layers.Lambda(lambda t: t)(x)]))
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    base, motivated = net(3), lively(net(6))
    assert_nested(base, motivated, infer(base, motivated, at_random()))


def test_what_a_function_returns_is_checked():
    base, motivated = perceptron(3), perceptron(6)
    message = r"Argument `select` must return 3 different integers in \[0, 6\) for axis 1 of '.*kernel' \(5, 6\), whose"
    for result in (
        *([0, 1], [0, 1, 1], [0, 1, 6], [0, 1, -1], [0.0, 1.0, 2.0], [True] * 3, [[0, 1, 2]], [[0], [1, 2]]),
        *(slice(0, 3), None, "012"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            infer(base, motivated, lambda *_, result=result: result)
        assert str(error.value).endswith(f"Received: {result!r}")


def test_an_unknown_select_is_refused():
    base, motivated = perceptron(3), perceptron(6)
    for select in ("largest", None, 3, ["prefix"]):
        with pytest.raises(ValueError, match=r'Argument `select` must be "prefix", "importance" or a func') as error:
            infer(base, motivated, select)
        assert str(error.value).endswith(f"Received: select={select!r}")


@pytest.mark.slow
@not_on_jax
@pytest.mark.parametrize("select", ["importance", at_random()], ids=["importance", "random"])
def test_efficientnet_b1_is_carved_out_of_b2(select):
    base, motivated = [
        build(weights=None, input_shape=(32, 32, 3), classes=3, classifier_activation=None)
        for build in (keras.applications.EfficientNetB1, keras.applications.EfficientNetB2)
    ]
    weights_map = infer(base, motivated, select)
    silence_extension(weights_map)
    for layer in motivated.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.05  # one batch gives statistics that let a signal through 300 layers
    motivated(np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32"), training=True)
    assert_nested(base, motivated, weights_map)


def test_the_private_parts_of_keras_that_a_graph_is_read_by():
    inputs = keras.Input((3,))
    dense = layers.Dense(3)
    model = keras.Model(inputs, dense(dense(inputs)) + inputs)
    assert _keras.graph(model) is model
    calls = _keras.graph_calls(model)
    assert [type(operation).__name__ for operation, *_ in calls] == ["Dense", "Dense", "Add"]
    (_, args, kwargs, given, made), (_, _, _, again, _), (add, both, *_) = calls
    assert (args, kwargs, given) == ((inputs,), {}, [inputs])
    assert again == made
    assert both[1] is inputs
    assert _keras.operation_kind(add) == "Add"
    assert _keras.operation_kind(dense) is None
    sequential = keras.Sequential([inputs, dense])
    assert _keras.graph(sequential).inputs[0].shape == (None, 3)
    assert _keras.graph(Subclassed(3)) is None
    assert _keras.graph(dense) is None
