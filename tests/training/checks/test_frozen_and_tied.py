"""Frozen layers, in either model or changed on the way, and weights tied inside a model: trained right, or refused."""

import contextlib

import keras
import numpy as np
import pytest
from helpers import (
    Alternate,
    assert_in_step,
    assert_same_weights,
    compiled,
    crossentropy,
    fit,
    mlp,
    numpy,
    pair_of,
    randomise,
    values,
)
from helpers import vectors as data
from keras import layers

import keras_motivation as km
from keras_motivation.training.steps import DISPATCHES

BACKEND = keras.backend.backend()
ONE_ONLY = "trainable in all models or in none.*hidden0"
CHANGED = "call `compile` again, with a new optimizer. Received: {} trainable: .*hidden0"


def set_trainable(model, trainable, which=("base", "motivated"), layer="hidden0"):
    for name in which:
        getattr(model, name).get_layer(layer).trainable = trainable


def same(before, after):
    return all(np.array_equal(a, b) for a, b in zip(before, after))


@pytest.mark.parametrize("which", [("base",), ("motivated",)], ids="-".join)
@pytest.mark.parametrize("freeze", [True, False], ids=["freeze", "unfreeze"])
def test_changed_since_compile_in_one_model(freeze, which):
    x, y = data()
    model = compiled()
    if not freeze:
        set_trainable(model, False)
        model.compile("adam", crossentropy(), motivation=Alternate())
    set_trainable(model, not freeze, which)
    assert_refused(model, lambda: fit(model), ONE_ONLY)
    assert_refused(model, lambda: model.train_on_batch(x[:4], y[:4]), ONE_ONLY)


def test_changed_since_the_last_fit():
    """Stock Keras goes on as before (TensorFlow), fails and loses the weights (JAX) or obeys in part (PyTorch)."""
    x, y = data()
    model = compiled()
    fit(model)
    for trainable, what in ((False, "no longer"), (True, "newly")):
        set_trainable(model, trainable)
        assert_refused(model, lambda: fit(model), CHANGED.format(what))
        assert_refused(model, lambda: model.train_on_batch(x[:4], y[:4]), CHANGED.format(what))
        model.compile("adam", crossentropy(), motivation=Alternate())
        assert_trains(model, trainable)


def test_frozen_between_compile_and_the_first_fit():
    model = compiled()
    set_trainable(model, False)
    assert_trains(model, False)


def assert_refused(model, train, message):
    before = [numpy(v) for v in [*model.variables, *model.optimizer.variables]]
    with pytest.raises(ValueError, match=message):
        train()
    assert same(before, [numpy(v) for v in [*model.variables, *model.optimizer.variables]])


def assert_trains(model, trainable):
    """`hidden0`, in both models, or all but that."""
    layer, other = (model.base.get_layer(name) for name in ("hidden0", "first"))
    before, others = values(layer), values(other)
    fit(model)
    assert same(before, values(layer)) != trainable
    assert not same(others, values(other))
    assert_in_step(*model._nested)


def test_an_optimizer_built_for_other_weights_is_refused_by_compile():
    model = compiled()
    fit(model)
    set_trainable(model, False)
    loss = model.loss
    with pytest.raises(ValueError, match=CHANGED.format("no longer")):
        model.compile(model.optimizer, "mse")
    assert model.loss is loss
    other = keras.optimizers.SGD()
    other.build(model.base.trainable_variables)
    with pytest.raises(ValueError, match=r"newly trainable: \['first/kernel', .* and others"):
        model.compile(other, "mse")
    set_trainable(model, True)
    fit(model)


def changing(model, which):
    """A callback that freezes `hidden0`, of the nested models themselves, after the first batch."""
    found = [model._nested[i].get_layer("hidden0") for i in which]
    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: [setattr(layer, "trainable", False) for layer in found]
    )


def test_changed_by_a_callback_within_fit():
    """It needs a new `compile`, as in Keras. Else TensorFlow goes on, PyTorch obeys, JAX refuses: both models hold."""
    model = compiled()
    refused = pytest.raises(ValueError, match=CHANGED.format("no longer"))
    with refused if BACKEND == "jax" else contextlib.nullcontext():
        fit(model, epochs=2, callbacks=[changing(model, (0, 1))])
    assert_in_step(*model._nested)
    assert_refused(model, lambda: fit(model), CHANGED.format("no longer"))
    set_trainable(model, True)
    fit(model)


def test_changed_by_a_callback_in_one_model():
    model = compiled()
    error = pytest.raises(Exception, match=ONE_ONLY)  # the error, or a note that it carries
    with error:
        fit(model, epochs=2, callbacks=[changing(model, (0,))])
    assert_in_step(*model._nested)
    assert_refused(model, lambda: fit(model), ONE_ONLY)
    set_trainable(model, True)
    fit(model)


def frozen_base(kind="both"):
    base, motivated = pair_of(kind, mlp)
    base.trainable = False
    for layer in base.layers:
        if layer.weights:
            motivated.get_layer(layer.name).trainable = False
    return base, motivated


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_frozen_base_with_an_extension_that_trains(dispatch):
    """The base's batches are heard but train nothing; motivated ones train as the stock model does."""
    x, y = data()
    _, stock = frozen_base()
    stock.compile("adam", crossentropy())
    model = km.MotivatedModel(*frozen_base(), extension="random")
    model.compile("adam", crossentropy(), motivation="always")
    record = km.MotivationHistory()
    fit(model, callbacks=[record])
    fit(stock)
    assert_same_weights(model.motivated, stock)
    before = values(model.base)
    with pytest.warns(UserWarning, match="has no trainable weights: base batches will train nothing"):
        model.compile("adam", crossentropy(), motivation=Alternate(), dispatch=dispatch)
    fit(model, callbacks=[record])
    for i in range(1, 8, 2):
        stock.train_on_batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
    assert same(before, values(model.base))
    assert record.motivated[-8:].tolist() == [False, True] * 4
    assert np.isfinite(record.losses).all()
    assert int(model.optimizer.iterations.value) == 4
    assert_in_step(*model._nested)
    assert not same(values(stock.get_layer("hidden1")), values(pair_of("both", mlp)[1].get_layer("hidden1")))


def test_everything_frozen():
    model = compiled()
    model.trainable = False
    before = values(model.motivated)
    with pytest.warns(UserWarning, match="No model has any trainable weights"):
        model.compile("adam", crossentropy(), motivation=Alternate())
    history = fit(model).history
    assert np.isfinite(history["loss"]).all()
    assert history["motivated"] == [0.5]
    assert same(before, values(model.motivated))
    model.trainable = True
    model.compile("adam", crossentropy(), motivation=Alternate())
    fit(model)
    assert not same(before, values(model.motivated))


def test_a_frozen_extension_layer():
    model = compiled()
    set_trainable(model, False, ("motivated",), "hidden1")
    model.compile("adam", crossentropy(), motivation="always")
    before, shared = values(model.motivated.get_layer("hidden1")), values(model.base)
    fit(model)
    assert same(before, values(model.motivated.get_layer("hidden1")))
    assert not same(shared[:1], values(model.base)[:1])
    assert_in_step(*model._nested)


# ---- Tied weights ---------------------------------------------------------------------------------------------------


def layer_twice(width, tied):
    inputs = keras.Input((5,))
    body = layers.Dense(width, "relu", name="body")
    again = body if tied else layers.Dense(width, "relu", name="again")
    outputs = layers.Dense(3, name="head")(again(body(layers.Dense(width, name="stem")(inputs))))
    return randomise(keras.Model(inputs, outputs), width)


def embedding_and_head(width, tied):
    inputs = keras.Input((6,), dtype="int32")
    embedding = layers.ReversibleEmbedding(3, width, tie_weights=tied, name="embedding")
    x = layers.Dense(width, name="body")(embedding(inputs))
    return randomise(keras.Model(inputs, embedding(x, reverse=True)), width)


@keras.saving.register_keras_serializable(__name__)
class Decoder(layers.Layer):
    """Multiplies by the transposed kernel of another layer, or by one of its own."""

    def __init__(self, units, encoder=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.kernel = None if encoder is None else encoder.kernel

    def build(self, shape):
        if self.kernel is None:
            self.kernel = self.add_weight(shape=(self.units, shape[-1]), name="kernel")

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.kernel))


def one_variable_in_two_layers(width, tied):
    inputs = keras.Input((5,))
    encoder = layers.Dense(width, use_bias=False, name="encoder")
    x = encoder(inputs)
    return randomise(keras.Model(inputs, Decoder(5, encoder if tied else None, name="decoder")(x)), width)


KINDS = (layer_twice, embedding_and_head, one_variable_in_two_layers)


def tied_data(build):
    if build is embedding_and_head:
        ids = np.random.default_rng(0).integers(0, 3, (32, 6))
        return ids, ids, crossentropy()
    x, y = data()
    return (x, x, "mse") if build is one_variable_in_two_layers else (x, y, crossentropy())


@pytest.mark.parametrize(
    ("build", "which"), [(layer_twice, 1), (embedding_and_head, 0), (one_variable_in_two_layers, 1)]
)
def test_tied_alike_trains_as_the_stock_model(build, which):
    x, y, loss = tied_data(build)

    def models():
        pair = [build(4, True), build(6, True)]
        return pair, km.MotivatedModel(*pair, extension="random")

    stock = models()[0][which]
    model = models()[1]
    histories = []
    for m, kwargs in ((stock, {}), (model, {"motivation": ("never", "always")[which]})):
        m.compile("adam", loss, **kwargs)
        histories.append(m.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    assert_same_weights(model.motivated if which else model.base, stock, rtol=1e-3, atol=1e-5)
    assert_in_step(*model._nested)


@pytest.mark.parametrize("build", KINDS)
def test_tied_in_the_motivated_model_only_is_refused(build):
    with pytest.raises(ValueError, match=r"has no partner|is mapped twice|differ by"):
        km.MotivatedModel(build(4, False), build(6, True))


@pytest.mark.parametrize("build", KINDS)
def test_tied_in_the_base_only_is_refused_or_warned_of(build):
    base, motivated = build(4, True), build(6, False)
    if build is embedding_and_head:
        with pytest.raises(ValueError, match="with the extension at zero, the outputs differ"):
            km.MotivatedModel(base, motivated)
        return
    # Where the untied weight has a layer of its own, that might as well be a new layer.
    with pytest.warns(UserWarning, match=r"cannot be silenced.*new layers \((again|decoder)\).*Or the map is wrong"):
        km.MotivatedModel(base, motivated)
