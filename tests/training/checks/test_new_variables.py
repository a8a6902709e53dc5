"""Variables that a model gets after the pair was made are noticed before the next step."""

import keras
import numpy as np
import pytest
from helpers import crossentropy, mlp, numpy, pair_of, values, vectors
from keras import layers, ops

import keras_motivation as km


def compiled(*models, **kwargs):
    model = km.MotivatedModel(*models, **kwargs)
    model.compile("sgd", crossentropy(), motivation="always")
    return model


def enable_lora(model):
    model.get_layer("first").enable_lora(2)


def test_lora_enabled_beforehand_trains():
    x, y = vectors()
    models = pair_of("depth", mlp)
    for nested in models:
        enable_lora(nested)
    model = compiled(*models)
    kernel = values(model.base)[0]
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
    np.testing.assert_array_equal(values(model.base)[0], kernel)  # frozen by LoRA


@pytest.mark.parametrize("which", [0, 1], ids=["base", "motivated"])
@pytest.mark.parametrize("use", ["fit", "train_on_batch", "compile", "evaluate"])
def test_lora_enabled_afterwards_is_refused(which, use):
    x, y = vectors()
    models = pair_of("depth", mlp)
    model = compiled(*models)
    if use == "train_on_batch":
        model.train_on_batch(x[:4], y[:4])
    enable_lora(models[which])
    before = [np.array(value) for value in values(models[0])]
    calls = {
        "fit": lambda: model.fit(x, y, verbose=0),
        "train_on_batch": lambda: model.train_on_batch(x[:4], y[:4]),
        "compile": lambda: model.compile("sgd", crossentropy()),
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
    }
    with pytest.raises(RuntimeError, match=r"(?s)has new variables.*Enable LoRA in both models before.*lora"):
        calls[use]()
    for value, old in zip(values(models[0]), before):
        np.testing.assert_array_equal(value, old)


def test_lora_enabled_by_a_callback_is_refused_before_the_next_epoch():
    x, y = vectors()
    models = pair_of("depth", mlp)
    model = compiled(*models)

    class Enable(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            enable_lora(models[0])

    with pytest.raises(RuntimeError, match="has new variables"):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[Enable()])


@keras.saving.register_keras_serializable(__name__)
class BuiltLate(layers.Layer):
    """Says that it is built, though its parts are built at the first call."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(width, "relu", name="hidden")
        self.norm = layers.LayerNormalization(name="norm")

    def build(self, shape):
        self.hidden.build(shape)
        self.built = True

    def call(self, x):
        return self.norm(self.hidden(x))


class Late(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.late = BuiltLate(width, name="late")
        self.head = layers.Dense(3, name="head")
        self.width = width

    def build(self, shape):
        self.late.build(shape)
        self.head.build((None, self.width))
        self.built = True

    def call(self, x):
        return self.head(self.late(x))


def stock_and_pair(models, which, **kwargs):
    model = km.MotivatedModel(*models, km.WeightsMap.infer(*models, check=False), extension="random", **kwargs)
    stock = Late((4, 6)[which])
    stock(ops.ones((1, 5)))
    stock.set_weights((model.base, model.motivated)[which].get_weights())
    stock.compile("sgd", crossentropy())
    model.compile("sgd", crossentropy(), motivation=("never", "always")[which])
    return stock, model


@pytest.mark.parametrize("which", [0, 1], ids=["never", "always"])
@pytest.mark.parametrize("late", [(0, 1), (0,), (1,)], ids=["both", "base", "motivated"])
def test_layers_that_are_built_late_train_as_in_the_stock_model(late, which):
    x, y = vectors()
    models = Late(4), Late(6)
    for i, nested in enumerate(models):
        nested.build((None, 5))
        if i not in late:
            nested(ops.ones((1, 5)))
    stock, model = stock_and_pair(models, which)
    expected = stock.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    found = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("use", ["fit", "train_on_batch"])
def test_layers_that_cannot_be_built_beforehand_are_noticed_before_weights_change(use):
    """Nobody has told these models what they take."""
    x, y = vectors()
    models = Late(4), Late(6)
    for nested in models:
        nested.late.hidden.build((None, 5))
        nested.late.built = nested.built = True
        nested.head.build((None, nested.width))
    pairs = list(zip(models[0].variables, models[1].variables))
    model = km.MotivatedModel(*models, km.WeightsMap(*models, pairs), extension="random")
    model.compile("sgd", crossentropy())
    before = [np.array(value) for value in values(models[0])]
    with pytest.raises(RuntimeError, match="call each model on a batch"):
        model.fit(x, y, batch_size=4, verbose=0) if use == "fit" else model.train_on_batch(x[:4], y[:4])
    for (v, _), old in zip(pairs, before):
        np.testing.assert_array_equal(numpy(v), old)
