"""What stock scripts unpack, what callbacks watch under `mode="auto"`, and metrics whose result is a dictionary."""

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, mlp, pair_of, values, vectors
from keras import layers, ops

import keras_motivation as km


class Range(keras.metrics.Metric):
    """A metric whose result is a dictionary, with one inside."""

    def __init__(self, name="range", **kwargs):
        super().__init__(name=name, **kwargs)
        self.low = self.add_variable(shape=(), initializer="zeros", name="low")
        self.high = self.add_variable(shape=(), initializer="zeros", name="high")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.low.assign(ops.minimum(self.low.value, ops.cast(ops.min(y_pred), self.low.dtype)))
        self.high.assign(ops.maximum(self.high.value, ops.cast(ops.max(y_pred), self.high.dtype)))

    def result(self):
        return {"low": self.low + 0.0, "more": {"high": self.high + 0.0}}


def two_outputs(width):
    inputs = keras.Input((5,))
    x = layers.Dense(width, "relu", name="body")(inputs)
    return keras.Model(inputs, {name: layers.Dense(3, name=name)(x) for name in ("a", "b")})


def one(**kwargs):
    return mlp, {"loss": crossentropy(), **kwargs}, vectors()


def several(**kwargs):
    x, y = vectors()
    losses = {name: crossentropy() for name in ("a", "b")}
    return lambda width, _: two_outputs(width), {"loss": losses, **kwargs}, (x, {"a": y, "b": y})


def margin(y_true, y_pred):
    return ops.max(y_pred, axis=-1) - ops.min(y_pred, axis=-1)


CASES = {
    "loss alone": lambda: one(),
    "a metric": lambda: one(metrics=["accuracy"]),
    "a dictionary": lambda: one(metrics=["accuracy", Range()]),
    "weighted": lambda: one(metrics=["accuracy", margin], weighted_metrics=["accuracy"]),
    "two outputs": lambda: several(metrics={"a": ["accuracy"], "b": [Range()]}),
    "two losses": lambda: several(),
}


@pytest.mark.parametrize("case", CASES)
def test_lists_hold_what_stocks_hold_and_dictionaries_more(case):
    (build, config, (x, y)), (_, own, _) = CASES[case](), CASES[case]()
    base, stock, motivated = build(4, 1), build(4, 1), build(6, 1)
    stock.set_weights(values(base))
    pair = km.MotivatedModel(base, motivated, extension="random")
    stock.compile("sgd", run_eagerly=True, **own)
    pair.compile("sgd", motivation="never", run_eagerly=True, **config)
    for method, kwargs in (
        ("train_on_batch", {}),
        ("test_on_batch", {}),
        ("evaluate", {"verbose": 0, "batch_size": 8}),
    ):
        expected, actual = (getattr(model, method)(x, y, **kwargs) for model in (stock, pair))
        assert type(actual) is type(expected)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, err_msg=method)
        expected, actual = (getattr(model, method)(x, y, return_dict=True, **kwargs) for model in (stock, pair))
        extra = {"motivated"} if method == "train_on_batch" else {f"motivated_{name}" for name in expected}
        assert set(actual) == set(expected) | extra
        np.testing.assert_allclose([actual[name] for name in expected], list(expected.values()), rtol=1e-5)


@pytest.mark.parametrize("evaluate_motivated", [True, False])
def test_a_dictionary_in_fit_and_validation(evaluate_motivated):
    x, y = vectors()
    pair = km.MotivatedModel(*pair_of("both", mlp), extension="random")
    metrics = ["accuracy", Range()]
    pair.compile("sgd", crossentropy(), metrics=metrics, motivation=Alternate(), evaluate_motivated=evaluate_motivated)
    history = pair.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y)).history
    names = {"loss", "accuracy", "low", "high"}
    prefixes = ("", "val_", "val_motivated_") if evaluate_motivated else ("", "val_")
    assert set(history) == {"motivated", *(prefix + name for prefix in prefixes for name in names)}
    for nested, prefix in ((pair.base, "val_"), (pair.motivated, "val_motivated_"))[: len(prefixes) - 1]:
        outputs = nested.predict(x, verbose=0)
        expected = [min(0, outputs.min()), max(0, outputs.max())]
        np.testing.assert_allclose([history[prefix + name][-1] for name in ("low", "high")], expected, rtol=1e-5)


def test_layers_of_the_motivated_model_that_keep_a_metric_add_nothing_to_lists():
    class Counting(layers.Layer):
        def __init__(self, metric, **kwargs):
            super().__init__(**kwargs)
            self.counted = keras.metrics.Mean(name=metric)

        def call(self, x):
            self.counted.update_state(ops.mean(ops.square(x)))
            return x

    def build(width, *metrics):
        head = layers.Dense(3, name="head")
        counting = [Counting(name, name=name) for name in metrics]
        return keras.Sequential([keras.Input((5,)), layers.Dense(width, "relu", name="body"), *counting, head])

    x, y = vectors()
    base, motivated = build(4, "shared"), build(6, "shared", "new")
    pair = km.MotivatedModel(base, motivated, extension="random")
    pair.compile("sgd", crossentropy(), motivation="never")
    expected = []
    for model in (base, motivated):
        kernel, bias = values(model)[:2]
        expected.append(np.mean(np.square(np.maximum(x @ kernel + bias, 0))))
    logs = pair.evaluate(x, y, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "shared", "motivated_loss", "motivated_shared", "motivated_new"}
    found = [logs[name] for name in ("shared", "motivated_shared", "motivated_new")]
    np.testing.assert_allclose(found, [expected[0], expected[1], expected[1]], rtol=1e-5)
    for values_of in (pair.evaluate(x, y, verbose=0), pair.test_on_batch(x, y), pair.train_on_batch(x, y)):
        np.testing.assert_allclose(values_of, [logs["loss"], logs["shared"]], rtol=1e-5)


def test_callbacks_know_the_direction_of_the_motivated_models_metrics(tmp_path):
    x, y = vectors()
    pair = km.MotivatedModel(*pair_of("both", mlp), extension="random")
    pair.compile("sgd", crossentropy(), metrics=["accuracy"], weighted_metrics=[margin], motivation="never")
    watch = {
        name: keras.callbacks.EarlyStopping(f"val_{prefix}{name}")
        for prefix in ("", "motivated_")
        for name in ("loss", "accuracy")
    }
    best = keras.callbacks.ModelCheckpoint(tmp_path / "b.keras", "val_motivated_accuracy", save_best_only=True)
    slower = keras.callbacks.ReduceLROnPlateau("val_motivated_loss")
    unknown = keras.callbacks.EarlyStopping("val_motivated_margin")
    pair.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[*watch.values(), best, slower])
    assert watch["loss"].monitor_op is slower.monitor_op is ops.less
    assert watch["accuracy"].monitor_op is best.monitor_op is ops.greater
    assert (tmp_path / "b.keras").exists()
    with pytest.raises(ValueError, match="Keras isn't able to automatically determine"):  # as for `val_margin`
        pair.fit(x, y, verbose=0, validation_data=(x, y), callbacks=[unknown])
