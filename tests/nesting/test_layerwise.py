"""The check layer by layer: what hides behind a residual stream is found, and what is right is right to rounding."""

import keras
import numpy as np
import pytest
from helpers import mlp, resnet
from keras import layers, ops

import keras_motivation as km
from keras_motivation.nesting.numeric_check.inputs.synthetic import guesses
from keras_motivation.nesting.numeric_check.probe import Probe
from keras_motivation.nesting.numeric_check.sites import find_sites

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((64, 16, 16, 3)).astype("float32")


class Gated(layers.Layer):
    """A gate that takes halves of its hidden channels, by a lookup that no rule follows; or keeps them apart."""

    def __init__(self, width, split=True, **kwargs):
        super().__init__(**kwargs)
        self.norm, self.down = layers.LayerNormalization(), layers.Dense(width)
        self.up = [layers.Dense(2 * width, "gelu")] if split else [layers.Dense(width, "gelu") for _ in range(2)]

    def call(self, x):
        y = self.norm(x)
        u, v = self._halves(self.up[0](y)) if len(self.up) == 1 else (up(y) for up in self.up)
        return x + self.down(u * v)

    def _halves(self, y):
        half = y.shape[-1] // 2
        return [ops.take(y, np.arange(start, start + half), axis=-1) for start in (0, half)]


def gated_net(width, data=IMAGES, split=True):
    inputs = keras.Input((16, 16, 3))
    norm = layers.Normalization()
    norm.adapt(data)
    x = layers.Reshape((16, width))(layers.Conv2D(width, 4, strides=4)(norm(inputs)))
    x = keras.Sequential([Gated(width, split)])(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("scale", [1, 255])
def test_a_wrong_branch_is_refused_however_large_the_residual_stream(scale):
    with pytest.raises(ValueError, match=r"differ by [1-9].*first those of layer '.*gated.*dense"):
        km.WeightsMap.infer(gated_net(16, scale * IMAGES), gated_net(24, scale * IMAGES))


def swamped(width, split):
    """A branch whose effect on the output is a hundredth of what rounding of deep nets may make."""
    inputs = keras.Input((5, 3))
    x = layers.Dense(width, name="embed")(inputs)
    x = layers.Add()([layers.Rescaling(1e4)(x), Gated(width, split, name="gated")(x)])
    return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(x)))


def test_what_hides_in_the_sum_is_seen_by_itself():
    verdict = km.WeightsMap.infer(swamped(4, False), swamped(6, False)).verdict
    assert verdict.nesting == "up to layer norm"
    assert verdict.error < 1e-4
    weights_map = km.WeightsMap.infer(swamped(4, True), swamped(6, True), check=False)
    probe = Probe(weights_map)
    assert probe._largest(probe._silenced, probe.expected) < 1e-3  # the outputs alone would not tell
    verdict = weights_map.verify()
    assert verdict.nesting == "differs"
    assert verdict.error > 0.1
    assert verdict.layer.split("/")[0] == "gated"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_half_precision_is_checked_in_single(policy):
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        right, wrong = ([gated_net(w, split=split) for w in (16, 24)] for split in (False, True))
    finally:
        keras.config.set_dtype_policy(former)
    policies = [layer.dtype_policy for layer in right[0]._flatten_layers()]
    verdict = km.WeightsMap.infer(*right).verdict
    assert verdict.nested
    assert verdict.error < 1e-4
    assert [layer.dtype_policy for layer in right[0]._flatten_layers()] == policies
    with pytest.raises(ValueError, match="differ by"):
        km.WeightsMap.infer(*wrong)


class Looped(layers.Layer):
    """A layer in a loop of the user's own, out of which no tensor gets where the backend compiles it."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(width, "tanh", name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return ops.fori_loop(0, 3, lambda _, state: self.dense(state), x)


def looped(width):
    inputs = keras.Input((3,))
    x = Looped(width, name="loop")(layers.Dense(width, name="first")(inputs))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


class Recomputed(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        with keras.RematScope(mode="full"):
            self.dense = layers.Dense(width, "relu", name="dense")

    def call(self, x):
        return self.dense(x)


def recomputed(width):
    return keras.Sequential([keras.Input((3,)), Recomputed(width, name="recomputed"), layers.Dense(2, name="head")])


def recurrent(width):
    inputs = keras.Input((4, 3))
    x = layers.SimpleRNN(width, return_sequences=True, name="rnn")(inputs)
    x = layers.TimeDistributed(layers.Dense(width, name="each"), name="times")(x)
    x, _ = layers.SimpleRNN(width, return_state=True, name="last")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def called_again(width, times=2):
    inputs = keras.Input((3,))
    x, again = layers.Dense(width, name="first")(inputs), layers.Dense(width, "tanh", name="again")
    for _ in range(times):
        x = layers.Add()([x, again(x)])
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


@pytest.mark.parametrize("build", [looped, recomputed, recurrent, called_again])
def test_right_maps_are_right_to_rounding_wherever_their_layers_are_called(build):
    models = build(4), build(6)
    verdict = km.WeightsMap.infer(*models).verdict
    assert verdict.nesting == "exact"
    assert verdict.error < 1e-4


def test_layers_are_looked_at_as_deeply_as_tensors_get_out():
    probe = Probe(km.WeightsMap.infer(looped(4), looped(6)))
    probe._compared()
    names = {site.inner.name for site in probe._run.sites}
    assert names == ({"first", "head", "loop"} if keras.backend.backend() == "jax" else {"first", "head", "dense"})
    sites = find_sites(km.WeightsMap.infer(recurrent(4), recurrent(6)))
    assert [site.inner.name for site in sites] == ["rnn", "times", "last", "head"]  # not the cells


def test_a_layer_that_is_called_more_often_is_compared_in_the_end_only():
    models = called_again(4, 2), called_again(6, 3)
    weights_map = km.WeightsMap.infer(*models, check=False)
    assert weights_map.verify().nesting == "differs"
    probe = Probe(weights_map)
    probe._compared()
    assert [site.inner.name for site in probe._run.sites] == ["first", "head"]


@pytest.mark.parametrize("select", ["importance", lambda inner, outer, axis: np.arange(outer.shape[axis])[::-1][:4]])
def test_selected_channels_are_compared_where_they_stand(select):
    for build in (lambda w: resnet(w, 1), lambda w: mlp(w, 1)):
        weights_map = km.WeightsMap.infer(build(4), build(6), select=select)
        assert weights_map.verdict.nesting == "exact"
        assert weights_map.verdict.error < 1e-4
        sites = find_sites(weights_map)
        assert len(sites) == 3  # a stem, a block, a head; not the norm
        assert len(sites[0].channels[-1]) == 4


# ---- Made-up inputs ------------------------------------------------------------------------------------------------


def drawn(model):
    batch = next(iter(guesses(model, np.random.default_rng(0))))
    return [ops.convert_to_numpy(leaf) for leaf in keras.tree.flatten(batch)]


def test_inputs_are_generated_from_what_the_model_says():
    norm = layers.Normalization(mean=[100.0, -5.0], variance=[400.0, 0.01])
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(2, 3)])
    shapes = {
        "normal": (2,),
        "pixels": (8, 8, 3),
        "centred": (500,),
        "words": (300,),
        "flags": (300,),
        "numbers": (300,),
    }
    integers = {"words": "int32", "flags": "int32"}
    inputs = {name: keras.Input(shape, dtype=integers.get(name), name=name) for name, shape in shapes.items()}
    table, small = layers.Embedding(50, 2), layers.Embedding(9, 2)
    parts = [
        norm(inputs["normal"]),
        layers.GlobalAveragePooling2D()(inner(inputs["pixels"])),
        layers.Dense(2)(layers.Rescaling(0.5, offset=-2.0)(inputs["centred"])),
        layers.GlobalAveragePooling1D()(table(inputs["words"])),
        layers.GlobalAveragePooling1D()(layers.Add()([table(inputs["numbers"]), small(inputs["numbers"])])),
        layers.Dense(2)(ops.cast(inputs["flags"], "float32")),
    ]
    found = dict(zip(sorted(inputs), drawn(keras.Model(inputs, layers.Concatenate()(parts)))))
    np.testing.assert_allclose(found["normal"].mean(0), [100, -5], rtol=0.3)
    assert found["normal"].std(0)[0] > 20 * found["normal"].std(0)[1]
    assert 0 <= found["pixels"].min() < 60 < 200 < found["pixels"].max() <= 255
    np.testing.assert_allclose([found["centred"].mean(), found["centred"].std()], [4, 2], rtol=0.2)
    assert set(found["words"].ravel()) == set(range(50))
    assert set(found["numbers"].ravel()) == set(range(9))  # any of its tables has these
    assert set(found["flags"].ravel()) == {0, 1}


class Tokens(keras.Model):
    """A subclassed model with a table that is larger than another."""

    def __init__(self):
        super().__init__()
        self.words, self.places = layers.Embedding(40, 2), layers.Embedding(6, 2)

    def call(self, x):
        return self.words(x) + self.places(ops.arange(6))


def test_of_a_subclassed_model_the_smallest_table_has_the_ids():
    model = Tokens()
    model(np.zeros((2, 6), "int32"))
    assert set(drawn(model)[0].ravel()) == set(range(6))


# ---- Inputs of several kinds -----------------------------------------------------------------------------------------


def tabular(width, split):
    numbers, kind = keras.Input((6,), name="numbers"), keras.Input((1,), dtype="int32", name="kind")
    looked_up = layers.Flatten()(layers.Embedding(7, 3, name="table")(kind))
    x = layers.Dense(width, name="embed")(layers.Concatenate()([numbers, looked_up]))
    x = Gated(width, split, name="gated")(x)
    return keras.Model({"numbers": numbers, "kind": kind}, layers.Dense(3, name="head")(x))


def test_mixed_inputs_are_checked_and_silenced():
    model = km.MotivatedModel(tabular(6, False), tabular(9, False))
    assert model.weights_map.verdict.nesting == "up to layer norm"
    assert model.extension == "silent"
    with pytest.raises(ValueError, match="differ by"):
        km.MotivatedModel(tabular(6, True), tabular(9, True))


def test_a_branch_that_is_joined_starts_silent():
    def net(branch):
        inputs = keras.Input((5,))
        x = layers.Dense(4, "relu", name="main")(inputs)
        if branch:
            x = layers.Concatenate()([x, layers.Dense(3, "relu", name="branch")(inputs)])
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    model = km.MotivatedModel(net(False), net(True))
    assert model.extension == "silent"
    x = RANDOM.normal(size=(4, 5)).astype("float32")
    np.testing.assert_allclose(model.motivated.predict(x, verbose=0), model.base.predict(x, verbose=0), atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras wraps modules of PyTorch under PyTorch only")
def test_wrapped_modules_of_pytorch():
    from torch import nn

    def net(width, split=False):
        def wrapped(name, out, *stack):
            return layers.TorchModuleWrapper(nn.Sequential(*stack), name=name, output_shape=(None, out))

        inputs = keras.Input((8,))
        x = wrapped("first", 2 * width, nn.Linear(8, 2 * width), nn.ReLU(inplace=True))(inputs)
        x = wrapped("act", width, nn.GLU() if split else nn.Linear(2 * width, width), nn.ReLU(inplace=True))(x)
        return keras.Model(inputs, layers.Dense(3, name="head")(x))

    model = km.MotivatedModel(net(6), net(10))
    assert model.weights_map.verdict.nesting == "exact"
    assert model.weights_map.verdict.error < 1e-4
    assert model.extension == "silent"
    x = RANDOM.normal(size=(4, 8)).astype("float32")
    np.testing.assert_allclose(model.motivated.predict(x, verbose=0), model.base.predict(x, verbose=0), atol=1e-5)
    with pytest.raises(ValueError, match="differ by"):
        km.MotivatedModel(net(6, split=True), net(10, split=True))


class InPlace(layers.Layer):
    """Under PyTorch this changes the tensor that it was given."""

    def build(self, shape):
        self.shift = self.add_weight(shape=(shape[-1],), initializer="ones", name="shift")

    def call(self, x):
        x += self.shift.value
        return x


def test_layers_that_change_their_input_in_place():
    def build(width):
        inputs = keras.Input((3,))
        x = layers.Dense(width, name="hidden")(InPlace(name="first")(inputs))
        return keras.Model(inputs, layers.Dense(2, name="head")(InPlace(name="second")(x)))

    assert km.WeightsMap.infer(build(4), build(6)).verdict.nesting == "exact"


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras wraps modules of PyTorch under PyTorch only")
@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
def test_modules_that_no_graph_can_be_made_of(kind):
    """They have been called, each on other data, and keep statistics that are no variables of Keras."""
    from torch import nn

    class Net(keras.Model):
        def __init__(self, width):
            super().__init__()
            self.first, self.norm, self.last = nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 3)

        def call(self, x):
            return self.last(self.norm(self.first(x)).relu())

    def build(width):
        if kind == "subclassed":
            model = Net(width)
        else:
            modules = nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3)
            model = keras.Sequential([layers.TorchModuleWrapper(module) for module in modules])
        model(RANDOM.normal(size=(8, 4)).astype("float32"))
        return model

    x = RANDOM.normal(size=(8, 4)).astype("float32")
    assert km.WeightsMap.infer(build(4), build(6), x=x).verdict.nesting == "exact"


def test_what_is_large_in_the_data_hides_nothing():
    """A column of ten thousands swamps a gate that looks up halves of its channels, on the user's batch too."""

    def build(width):
        halves = np.split(np.arange(2 * width), 2)
        gate = layers.Lambda(lambda t: ops.prod([ops.take(t, half, axis=-1) for half in halves], axis=0))
        inputs = keras.Input((2,))
        gates = layers.Dense(2 * width, "tanh", name="gates")(inputs[:, 1:])
        x = layers.Dense(6, name="large")(inputs[:, :1]) + ops.sum(gate(gates), axis=-1, keepdims=True)
        return keras.Model(inputs, layers.Dense(3, name="head")(x))

    x = np.stack([RANDOM.normal(size=64) * 1e4 + 5e4, RANDOM.normal(size=64)], 1).astype("float32")
    for arguments in ({}, {"x": x}):
        with pytest.raises(ValueError, match="differ by"):
            km.WeightsMap.infer(build(4), build(6), **arguments)


class Unpredictable(layers.Layer):
    """Nobody can say what it puts out before it has done so."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(width, "relu")

    def call(self, x):
        return self.inner(x)

    def compute_output_spec(self, x, **kwargs):
        raise NotImplementedError("no shape")


def test_a_sequential_model_without_a_graph():
    def build(width):
        model = keras.Sequential([Unpredictable(width, name="first"), layers.Dense(3, name="head")])
        model(np.ones((2, 4), "float32"))
        return model

    x = RANDOM.normal(size=(8, 4)).astype("float32")
    assert km.MotivatedModel(build(4), build(6), x=x).weights_map.verdict.nesting == "exact"
