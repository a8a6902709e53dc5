"""Layers that do more with their weights than read them as tensors, in the pair as in the stock model.

They write them in the forward pass, keep states that are no variables of the model, are recomputed in the backward
pass, or hold a compiled function of their own.
"""

import keras
import numpy as np
import pytest
from helpers import randomise
from keras import layers, ops

import keras_motivation as km

BACKEND = keras.backend.backend()
BATCH, STEPS, FEATURES = 4, 3, 5


@keras.saving.register_keras_serializable(__name__)
class Projected(layers.Dense):
    """Keeps its kernel's columns within a ball, in the forward pass, as some papers do."""

    def call(self, x):
        norms = ops.sqrt(ops.sum(ops.square(self.kernel.value), axis=0, keepdims=True))
        self.kernel.assign(self.kernel.value / ops.maximum(norms / 0.3, 1.0))
        return super().call(x)


@keras.saving.register_keras_serializable(__name__)
class Counting(layers.Dense):
    """Counts its calls in a buffer that grows with the width, in training and in inference."""

    def build(self, shape):
        super().build(shape)
        self.calls = self.add_weight(shape=(self.units,), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign(self.calls + 1.0)
        return super().call(x) * ops.cast(1 + 0.1 * self.calls, x.dtype)


class Recomputed(layers.Layer):
    """Computes its inner layer again in the backward pass."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(width, "tanh", name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        if BACKEND == "tensorflow":
            import tensorflow as tf

            return tf.recompute_grad(lambda tensor: self.inner(tensor))(x)
        if BACKEND == "torch":
            import torch

            return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
        import jax

        return jax.checkpoint(lambda tensor: self.inner(tensor))(x)


class Compiled(layers.Layer):
    """Holds a compiled function that looks at its weights itself."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        if BACKEND == "tensorflow":
            import tensorflow as tf

            self.product = tf.function(lambda x: tf.tanh(tf.matmul(x, self.kernel.value)))
        elif BACKEND == "torch":
            self.product = lambda x: x.matmul(self.kernel.value).tanh()
        else:  # JAX's compiled functions must not look at what changes
            import jax

            function = jax.jit(lambda x, kernel: jax.numpy.tanh(x @ kernel))
            self.product = lambda x: function(x, self.kernel.value)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.width), name="kernel")

    def call(self, x):
        return self.product(x)


def numpy(variable):
    """A copy: what PyTorch gives out is the variable's own memory."""
    return np.array(ops.convert_to_numpy(variable.value))


def vectors_through(layer):
    def build(width):
        inputs = keras.Input((FEATURES,), batch_size=BATCH)
        return keras.Model(inputs, layers.Dense(3, name="head")(layer(width)(inputs)))

    return build


def sequences_through(layer):
    def build(width):
        inputs = keras.Input((STEPS, FEATURES), batch_size=BATCH)
        return keras.Model(inputs, layers.Dense(3, name="head")(layer(width)(inputs)))

    return build


def residual_rnn(width):
    """A stateful RNN of equal size in both, since wider gates do not nest."""
    inputs = keras.Input((STEPS, FEATURES), batch_size=BATCH)
    kind = layers.SimpleRNN if BACKEND == "torch" else layers.LSTM  # which stock Keras cannot train under PyTorch
    x = kind(4, stateful=True, name="rnn")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.Dense(width, "relu", name="wide")(x)))


def remat(width):
    with keras.RematScope(mode="full"):
        return layers.Dense(width, "tanh", name="body")


MODELS = {
    "projected": vectors_through(lambda width: Projected(width, name="body")),
    "spectral norm": vectors_through(
        lambda width: layers.SpectralNormalization(layers.Dense(width, name="body"), name="spectral")
    ),
    "counting": vectors_through(lambda width: Counting(width, name="body")),
    "recomputed": vectors_through(lambda width: Recomputed(width, name="body")),
    "remat scope": vectors_through(remat),
    "compiled": vectors_through(lambda width: Compiled(width, name="body")),
    "stateful rnn": residual_rnn,
    "stateful simple rnn": sequences_through(lambda width: layers.SimpleRNN(width, stateful=True, name="body")),
}
SAME_WIDTH = ("projected", "spectral norm")  # what looks at a whole weight does not nest in a wider one


def data(model, batches=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(batches * BATCH, *model.input_shape[1:])).astype("float32"), rng.integers(
        0, 3, batches * BATCH
    )


def crossentropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def states(model):
    """All that the model keeps: variables, and the states of recurrent layers, which are none."""
    found = [(v.path, numpy(v)) for v in model.variables if v.name != "seed_generator_state"]
    for layer in model.layers:
        found += [(layer.name, numpy(v)) for v in keras.tree.flatten(getattr(layer, "states", None) or [])]
    return found


def assert_same(model, stock):
    for (path, actual), (_, expected) in zip(states(model), states(stock), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6, err_msg=path)


def pair_and_stock(kind, which):
    build = MODELS[kind]
    sizes = (4, 4) if kind in SAME_WIDTH else (4, 6)
    base, motivated = randomise(build(sizes[0]), 1), randomise(build(sizes[1]), 2)
    weights_map = km.WeightsMap.infer(base, motivated, check=False)
    pair = km.MotivatedModel(base, motivated, weights_map, extension="random", statistics="shared")
    stock = build(sizes[which])
    for v, w in zip(stock.variables, (base, pair.motivated)[which].variables, strict=True):
        v.assign(numpy(w))
    return pair, stock


@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
@pytest.mark.parametrize("kind", MODELS)
def test_equals_the_stock_model(kind, which):
    pair, stock = pair_and_stock(kind, which)
    x, y = data(stock)
    # Stock Keras can call a layer of a `RematScope` with keyword arguments in eager TensorFlow only.
    eager = kind == "remat scope" and BACKEND == "tensorflow"
    stock.compile(keras.optimizers.SGD(0.5, momentum=0.9), crossentropy(), run_eagerly=eager)
    motivation = ("never", "always")[which]
    pair.compile(keras.optimizers.SGD(0.5, momentum=0.9), crossentropy(), motivation=motivation, run_eagerly=eager)
    arguments = {"batch_size": BATCH, "epochs": 3, "shuffle": False, "verbose": 0}
    expected = stock.fit(x, y, **arguments).history["loss"]
    np.testing.assert_allclose(pair.fit(x, y, **arguments).history["loss"], expected, rtol=1e-4)
    assert_same((pair.base, pair.motivated)[which], stock)


@pytest.mark.parametrize("kind", ["counting", "projected"])
def test_what_inference_writes_stays(kind):
    """As in the stock model's `evaluate`: here of the motivated model, after one of the base over the same data."""
    pair, stock = pair_and_stock(kind, 1)
    _, base = pair_and_stock(kind, 0)
    x, y = data(stock)
    for model in (stock, base, pair):
        model.compile("sgd", crossentropy())
    expected = base.evaluate(x, y, batch_size=BATCH, verbose=0)
    found = pair.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)["loss"]
    if kind == "projected":  # written weights are the same whoever writes them
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert_same(pair.base, base)
    else:  # both models count in what they share
        start = numpy(pair_and_stock(kind, 0)[1].get_layer("body").calls)
        np.testing.assert_allclose(numpy(pair.base.get_layer("body").calls), start + 6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["projected", "counting", "recomputed"])
def test_joint_batches(kind):
    """The sum of two stock steps: the motivated model's starts from what the base's forward pass has left."""
    pair, base = pair_and_stock(kind, 0)
    _, motivated = pair_and_stock(kind, 1)
    x, y = data(base, 1)
    pair.compile(keras.optimizers.SGD(0.1), crossentropy(), motivation=km.Always(), motivated_batch="joint")
    pair.fit(x, y, batch_size=BATCH, verbose=0)

    steps, left = [], []
    for model in (base, motivated):
        if model is motivated:
            for v, value in zip([*base.trainable_variables, *base.non_trainable_variables], left):
                place(motivated, v, value)
        left = after_forward(model, x)
        model.compile(keras.optimizers.SGD(0.1), crossentropy())
        model.fit(x, y, batch_size=BATCH, verbose=0)
        steps.append([numpy(v) - value for v, value in zip(model.trainable_variables, left)])
    for i, v in enumerate(base.trainable_variables):
        expected = cut(left[i], v) + steps[0][i] + cut(steps[1][i], v)
        np.testing.assert_allclose(numpy(pair.base.trainable_variables[i]), expected, rtol=1e-4, atol=1e-6)


def after_forward(model, x):
    """The variables, trained ones first, that a forward pass would leave for the update; the model keeps its own."""
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    kept = [numpy(v) for v in variables]
    model(x, training=True)
    found = [numpy(v) for v in variables]
    for v, value in zip(variables, kept):
        v.assign(value)
    # JAX loses what a forward pass writes into trained weights, in stock Keras too.
    count = len(model.trainable_variables) if BACKEND == "jax" else 0
    return [*kept[:count], *found[count:]]


def cut(value, variable):
    return value[tuple(slice(0, n) for n in variable.shape)]


def place(model, variable, value):
    partner = next(w for w in model.variables if w.path == variable.path)
    whole = numpy(partner)
    whole[tuple(slice(0, n) for n in variable.shape)] = value
    partner.assign(whole)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "counting"])
def test_the_check_by_numbers_leaves_no_trace(kind):
    """What a layer's own compiled function captures when it runs for the first time must be the variables."""
    sizes = (4, 4) if kind in SAME_WIDTH or kind == "stateful simple rnn" else (4, 6)
    models = [randomise(MODELS[kind](size), i) for i, size in enumerate(sizes)]
    before = [states(model) for model in models]
    pair = km.MotivatedModel(*models, extension="random")
    assert pair.weights_map.verdict.nesting == "exact"
    after = [states(model) for model in models]
    for (path, old), (_, new) in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(new, old, err_msg=path)
    for model in models:
        stock = MODELS[kind](sizes[model is models[1]])
        for v, w in zip(stock.variables, model.variables, strict=True):
            v.assign(numpy(w))
        x, _ = data(stock, 1)
        np.testing.assert_allclose(*(ops.convert_to_numpy(m(x)) for m in (model, stock)), rtol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="about functions that TensorFlow traces")
@pytest.mark.parametrize("part", ["norm", "dense"])
def test_what_a_traced_function_calls_is_not_what_the_check_has_put_there(part):
    import tensorflow as tf

    class Traced(layers.Layer):
        def __init__(self, width, **kwargs):
            super().__init__(**kwargs)
            self.dense, self.norm = layers.Dense(width, name="dense"), layers.BatchNormalization(name="norm")

        def build(self, shape):
            self.dense.build(shape)
            self.norm.build((*shape[:-1], self.dense.units))

        @tf.function
        def inner(self, x, training):
            y = self.dense(x)
            return tf.nn.relu(self.norm(y, training=training) if part == "norm" else y)

        def call(self, x, training=False):
            return self.inner(x, bool(training))

        def compute_output_shape(self, shape):
            return (*shape[:-1], self.dense.units)

    def build(width):
        stack = [keras.Input((FEATURES,)), Traced(width, name="traced"), layers.Dense(3, name="head")]
        return randomise(keras.Sequential(stack), width)

    models = build(4), build(6)
    pair = km.MotivatedModel(*models)
    assert pair.extension == "silent"
    x = np.random.default_rng(0).normal(size=(16, FEATURES)).astype("float32")
    for model, width in zip(models, (4, 6)):
        stock = build(width)
        stock.set_weights(model.get_weights())
        np.testing.assert_allclose(model(x), stock(x), rtol=1e-6)
        assert_same(model, stock)
        km.recalibrate_batch_norm(model, [x])
        after = states(model)
        model(x)
        for (path, old), (_, new) in zip(after, states(model), strict=True):
            np.testing.assert_array_equal(new, old, err_msg=path)  # inference moves no statistics


def test_a_batch_that_failed_is_not_carried_back_later():
    """What its forward pass wrote must not come over weights that were loaded meanwhile."""
    pair, _ = pair_and_stock("projected", 0)
    x, y = data(pair.base, 1)

    def failing(y_true, y_pred):
        if switch["on"]:
            raise RuntimeError("no loss today")
        return crossentropy()(y_true, y_pred)

    switch = {"on": False}
    pair.compile(keras.optimizers.SGD(0.0), failing, motivation=km.Schedule([True, True, False]), run_eagerly=True)
    pair.train_on_batch(x, y)  # Keras asks the loss once before the first batch
    switch["on"] = True
    with pytest.raises(RuntimeError, match="no loss today"):
        pair.train_on_batch(x, y)
    switch["on"] = False
    pair.motivation.level.assign(0)
    loaded = [0.01 * np.ones(v.shape, "float32") for v in pair.base.weights]  # small enough to need no projection
    pair.base.set_weights(loaded)
    pair.train_on_batch(x, y)
    for v, value in zip(pair.base.weights, loaded):
        np.testing.assert_allclose(numpy(v), value, rtol=1e-6, err_msg=v.path)
