"""What models bring along: several inputs and outputs, penalties, seeds, masks, metrics, overridden hooks."""

import keras
import numpy as np
import pytest
from helpers import Alternate, compiled, crossentropy, fit, mlp, pair_of, randomise, values, vectors
from keras import layers, ops

import keras_motivation as km

BACKEND = keras.backend.backend()


def two_headed(width):
    inputs = {"left": keras.Input((5,), name="left"), "right": keras.Input((3,), name="right")}
    x = layers.Concatenate()([inputs["left"], inputs["right"]])
    x = layers.Dense(width, "relu", name="body")(x)
    outputs = {"kind": layers.Dense(3, name="kind")(x), "size": layers.Dense(1, name="size")(x)}
    return keras.Model(inputs, outputs)


def test_multi_input_and_multi_output_with_dictionaries():
    x, y = vectors()
    inputs = {"left": x, "right": x[:, :3]}
    targets = {"kind": y, "size": x[:, :1]}
    losses = {"kind": crossentropy(), "size": "mse"}
    model = km.MotivatedModel(randomise(two_headed(4), 1), randomise(two_headed(7), 2))
    model.compile(
        "adam", losses, loss_weights={"kind": 1.0, "size": 0.5}, metrics={"kind": "accuracy"}, motivation=Alternate()
    )
    history = model.fit(inputs, targets, batch_size=4, validation_data=(inputs, targets), verbose=0).history
    expected = {"loss", "kind_loss", "size_loss", "kind_accuracy"}
    assert set(history) == expected | {"motivated"} | {f"val_{m}{n}" for m in ("", "motivated_") for n in expected}
    assert set(model.predict(inputs, verbose=0)) == {"kind", "size"}
    # The metrics of each model are those that the model gives when it stands alone.
    for nested, prefix in ((model.base, "val_"), (model.motivated, "val_motivated_")):
        alone = two_headed(nested.get_layer("body").units)
        alone.set_weights(values(nested))
        alone.compile("adam", losses, loss_weights={"kind": 1.0, "size": 0.5}, metrics={"kind": "accuracy"})
        for name, value in alone.evaluate(inputs, targets, batch_size=4, verbose=0, return_dict=True).items():
            np.testing.assert_allclose(history[prefix + name][0], value, rtol=1e-4, err_msg=prefix + name)


class Penalised(layers.Layer):
    """Adds a loss of its input in `call`."""

    def call(self, x):
        self.add_loss(0.1 * ops.mean(ops.square(x)))
        return x


def penalised(width):
    inputs = keras.Input((5,))
    x = layers.Dense(width, "relu", name="body", kernel_regularizer=keras.regularizers.L2(0.1))(inputs)
    return keras.Model(inputs, layers.Dense(3, name="head")(Penalised()(x)))


@pytest.mark.parametrize("which", [0, 1])
def test_penalties_are_those_of_the_model_that_trains(which):
    """`add_loss` and regularisers, of the base only on a base batch, of the assembled weights on a motivated one."""
    x, y = vectors()

    def models():
        base, motivated = randomise(penalised(4), 1), randomise(penalised(6), 2)
        return base, km.MotivatedModel(base, motivated)._nested[1]

    stock = models()[which]
    stock.compile("sgd", crossentropy())
    expected = stock.fit(x, y, batch_size=4, shuffle=False, verbose=0).history["loss"]
    model = km.MotivatedModel(*models())
    model.compile("sgd", crossentropy(), motivation=("never", "always")[which])
    np.testing.assert_allclose(
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history["loss"], expected, rtol=1e-5
    )
    evaluated = model.evaluate(x, y, verbose=0, return_dict=True)
    np.testing.assert_allclose(evaluated[("loss", "motivated_loss")[which]], stock.evaluate(x, y, verbose=0), rtol=1e-4)


def with_dropout(width):
    inputs = keras.Input((5,))
    x = layers.Dense(width, "relu", name="body")(layers.GaussianNoise(0.1, seed=3)(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.Dropout(0.5, seed=7)(x)))


@pytest.mark.parametrize("which", [0, 1])
def test_seeded_layers_draw_as_in_the_stock_model(which):
    x, y = vectors()

    def models():
        base, motivated = randomise(with_dropout(8), 1), randomise(with_dropout(16), 2)
        return base, km.MotivatedModel(base, motivated)._nested[1]

    stock = models()[which]
    stock.compile("sgd", crossentropy())
    expected = stock.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    model = km.MotivatedModel(*models())
    model.compile("sgd", crossentropy(), motivation=("never", "always")[which])
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-5)


@keras.saving.register_keras_serializable(__name__)
class Subclassed(keras.Model):
    """A user's own model, with unnamed layers."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.body = layers.Dense(width, "relu")
        self.drop = layers.Dropout(0.1, seed=1)
        self.head = layers.Dense(3)

    def call(self, x, training=False):
        return self.head(self.drop(self.body(x), training=training))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class UnseededNoise(layers.Layer):
    """Draws from Keras's global generator, and counts in a metric of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.counted = keras.metrics.Mean(name="counted")

    def call(self, x):
        self.counted.update_state(ops.mean(ops.square(x)))
        return x + keras.random.normal(ops.shape(x))


def test_state_outside_the_models_variables_moves_on():
    """Unseeded random numbers differ from batch to batch, and metrics of layers count, of whichever model trains."""

    def noisy(width):
        inputs = keras.Input((5,))
        return keras.Model(inputs, layers.Dense(3, name="head")(UnseededNoise()(layers.Dense(width, name="b")(inputs))))

    if BACKEND == "jax":  # Keras itself allows neither under JAX, and says so when the model is built
        with pytest.raises(ValueError, match="JAX RNG"):
            noisy(4)
        return
    x, y = vectors(1)
    for which, motivation in ((0, "never"), (1, "always")):
        pair = noisy(4), noisy(6)
        # Noise that no seed reaches: the two models never compute the same.
        model = km.MotivatedModel(*pair, km.WeightsMap.infer(*pair, check=False), extension="random")
        model.compile(keras.optimizers.SGD(0.0), crossentropy(), motivation=motivation)
        logs = [model.train_on_batch(x, y, return_dict=True) for _ in range(4)]
        assert len({log["loss"] for log in logs}) == 4
        counted = model._nested[which].layers[2].counted
        assert float(counted.result()) > 0


class Total(keras.metrics.Metric):
    """A metric that returns its variable itself, as the example in Keras's documentation does."""

    def __init__(self, name="total", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(ops.sum(y_pred))

    def result(self):
        return self.total if BACKEND != "jax" else self.total.value  # Keras on JAX refuses variables in logs


def test_metrics_that_return_their_variable():
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp))
    model.compile("sgd", crossentropy(), metrics=[Total()], motivation=Alternate())
    fit(model)
    logs = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    for name, nested in (("total", model.base), ("motivated_total", model.motivated)):
        np.testing.assert_allclose(logs[name], nested.predict(x, verbose=0).sum(), rtol=1e-4)


def masked(width):
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, width, mask_zero=True, name="embedding")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def test_metrics_respect_keras_masks():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (32, 6)), rng.integers(0, 3, (32, 6))
    stock = randomise(masked(4), 1)
    model = km.MotivatedModel(randomise(masked(4), 1), randomise(masked(6), 2))
    for m, kwargs in ((stock, {}), (model, {"motivation": "never"})):
        m.compile(keras.optimizers.SGD(0.0), crossentropy(), metrics=["accuracy"], **kwargs)
    expected = stock.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    for name in expected:
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-5, err_msg=name)


def test_subclassed_models():
    x, y = vectors()
    pair = [Subclassed(4), Subclassed(8)]
    for nested in pair:
        nested(x[:1])
    model = km.MotivatedModel(*pair)
    model.compile("adam", crossentropy(), motivation=Alternate())
    assert np.isfinite(model.fit(x, y, batch_size=4, epochs=2, verbose=0).history["loss"]).all()


class HalfLoss(km.MotivatedModel):
    """Overrides both hooks of Keras, in the signatures that Keras documents."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        return 0.5 * super().compute_loss(x, y, y_pred, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "spread": ops.std(y_pred)}


def test_a_subclass_may_override_loss_and_metrics():
    x, y = vectors()
    plain, half = compiled("never"), compiled("never", cls=HalfLoss)
    plain_loss = plain.train_on_batch(x, y, return_dict=True)["loss"]
    logs = half.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(logs["loss"], plain_loss / 2, rtol=1e-6)
    assert {"spread", "motivated"} <= set(logs)
    history = fit(half, validation_data=(x, y)).history
    assert {"spread", "motivated", "val_spread", "val_motivated_spread"} <= set(history)
