"""`fit` as users call it: kinds of data, weights, losses, layers and subclasses."""

import keras
import numpy as np
import pytest
from helpers import (
    Alternate,
    Batches,
    Recorder,
    assert_same_weights,
    compiled,
    crossentropy,
    fit,
    mlp,
    numpy,
    pair_of,
    resnet,
    vectors,
)
from keras import ops

import keras_motivation as km

BACKEND = keras.backend.backend()


def data_of(kind, x, y):
    """The same batches of 4 as each kind of input; returns what `fit` takes."""
    if kind == "numpy":
        return {"x": x, "y": y, "batch_size": 4}
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
        return {"x": tf.data.Dataset.from_tensor_slices((x, y)).batch(4)}
    if kind == "PyDataset":
        return {"x": Batches(x, y)}
    if kind == "generator":
        return {"x": (b for b in [*Batches(x, y)] * 2), "steps_per_epoch": len(x) // 4}
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return {"x": torch.utils.data.DataLoader(dataset, batch_size=4)}


@pytest.mark.parametrize("kind", ["tf.data", "PyDataset", "DataLoader", "generator"])
def test_every_kind_of_data_trains_alike(kind):
    x, y = vectors()
    expected, model = compiled(), compiled()
    history = expected.fit(**data_of("numpy", x, y), epochs=2, shuffle=False, verbose=0).history
    again = model.fit(**data_of(kind, x, y), epochs=2, shuffle=False, verbose=0).history
    np.testing.assert_allclose(again["loss"], history["loss"], rtol=1e-5)
    assert_same_weights(model.motivated, expected.motivated)
    evaluated = [m.evaluate(**data_of("numpy", x, y), verbose=0) for m in (model, expected)]
    np.testing.assert_allclose(*evaluated, rtol=1e-4)


def test_a_last_short_batch():
    x, y = vectors()
    history = compiled().fit(x[:30], y[:30], batch_size=4, validation_data=(x[:6], y[:6]), verbose=0).history
    assert np.isfinite(history["val_motivated_loss"]).all()


def test_sample_weight_and_class_weight_are_the_stock_models():
    x, y = vectors()
    class_weight = {0: 1.0, 1: 0.2, 2: 3.0}
    weights = np.array([class_weight[label] for label in y], "float32")
    ends = []
    for kwargs in ({"class_weight": class_weight}, {"sample_weight": weights}):
        model = compiled("always")
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0, **kwargs)
        ends.append(model.motivated)
    stock = pair_of("both", mlp)[1]
    stock.compile("adam", crossentropy())
    stock.fit(x, y, batch_size=4, shuffle=False, verbose=0, sample_weight=weights)
    for motivated in ends:
        assert_same_weights(motivated, stock)


def test_train_step_can_be_called_by_itself():
    """By a user's own loop. On JAX inside his own `jax.jit`, which takes the choice into the program."""
    x, y = vectors()
    expected, model = compiled(), compiled()
    losses = [expected.train_on_batch(x[:4], y[:4], return_dict=True)["loss"] for _ in range(4)]
    model.test_on_batch(x[:4], y[:4])  # builds the metrics
    again = []
    if BACKEND == "jax":
        import jax

        model.optimizer.build(model.trainable_variables)
        lists = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        state, step = tuple([v.value for v in variables] for variables in lists), jax.jit(model.train_step)
        for _ in range(4):
            model.reset_metrics()
            logs, state = step((*state[:3], [v.value for v in model.metrics_variables]), (x[:4], y[:4]))
            again.append(float(logs["loss"]))
    else:
        if BACKEND == "tensorflow":
            model.optimizer.build(model.trainable_variables)
        data = [ops.convert_to_tensor(part) for part in (x[:4], y[:4])]
        for _ in range(4):
            model.reset_metrics()
            again.append(float(model.train_step(tuple(data))["loss"]))
    np.testing.assert_allclose(again, losses, rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "jit", "nojit"])
@pytest.mark.filterwarnings("default")  # Dynamo turns a warning inside its tracing into an internal error
def test_run_eagerly_and_jit_compile(mode):
    kwargs = {"eager": {"run_eagerly": True}, "jit": {"jit_compile": True}, "nojit": {"jit_compile": False}}[mode]
    expected, model = compiled(), compiled(**kwargs)
    np.testing.assert_allclose(fit(model).history["loss"], fit(expected).history["loss"], rtol=1e-4)
    assert_same_weights(model.motivated, expected.motivated, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("steps", [3])
def test_steps_per_execution(steps):
    if BACKEND == "torch":
        with pytest.raises(ValueError, match="steps_per_execution"):
            fit(compiled(steps_per_execution=steps))
        return
    expected, model = compiled(), compiled(steps_per_execution=steps)
    history = fit(model).history
    np.testing.assert_allclose(history["loss"], fit(expected).history["loss"], rtol=1e-5)
    assert history["motivated"] == [0.5]
    assert_same_weights(model.motivated, expected.motivated)


def test_train_on_batch_and_test_on_batch():
    x, y = vectors()
    model = compiled(metrics=["accuracy"])
    logs = [model.train_on_batch(x[:4], y[:4], return_dict=True) for _ in range(4)]
    assert [log["motivated"] for log in logs] == [0, 1, 0, 1]
    loss, accuracy = model.train_on_batch(x[:4], y[:4])  # as from a stock model
    assert np.isfinite([loss, accuracy]).all()
    tested = model.test_on_batch(x[:4], y[:4], return_dict=True)
    assert set(tested) == {"loss", "accuracy", "motivated_loss", "motivated_accuracy"}
    model.predict_on_batch(x[:4])


def test_predict_and_call_are_the_bases():
    x, _ = vectors()
    model = compiled()
    fit(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), model.base.predict(x, verbose=0), rtol=1e-5)
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stop_gradient(model(x))), model.base.predict(x, verbose=0), rtol=1e-4, atol=1e-6
    )


def test_validation_changes_nothing():
    """Neither weights nor the condition's memory: the run with validation is the run without."""
    x, y = vectors()
    runs = []
    for validation in (None, (x[:8], y[:8])):
        model, record = compiled(km.LossStreak(1)), Recorder()
        fit(model, epochs=3, validation_data=validation, callbacks=[record])
        runs.append((record, [numpy(v) for v in model.variables]))
    assert runs[0][0].motivated == runs[1][0].motivated
    assert any(runs[0][0].motivated)
    for one, other in zip(runs[0][1], runs[1][1]):
        np.testing.assert_array_equal(one, other)


def test_fit_twice_is_fit_once_for_as_long():
    once, twice = compiled(km.LossStreak(1)), compiled(km.LossStreak(1))
    losses = fit(once, epochs=4).history["loss"]
    again = fit(twice, epochs=2).history["loss"] + fit(twice, epochs=2).history["loss"]
    np.testing.assert_allclose(again, losses, rtol=1e-6)
    assert_same_weights(twice.motivated, once.motivated)


def test_compile_twice_with_the_same_condition_keeps_its_memory():
    x, y = vectors()
    condition = km.LossStreak(1)
    model = compiled(condition)
    model.train_on_batch(x[:4], y[:4])
    memory = [numpy(v) for v in condition.variables]
    for same in (
        condition,
        {"class_name": "keras_motivation>LossStreak", "config": {"k": 1}},
    ):
        model.compile("sgd", crossentropy(), motivation=same)
        assert model.motivation is condition
        np.testing.assert_array_equal([numpy(v) for v in condition.variables], memory)
    fit(model)
    model.compile("sgd", crossentropy(), motivation=km.LossStreak(2))
    assert model.motivation.k == 2
    fit(model)


class CountedTraces(km.MotivatedModel):
    """Counts how often the Python code of a step runs: once a trace where a step is compiled."""

    calls = 0

    def compute_loss(self, *args, **kwargs):
        CountedTraces.calls += 1
        return super().compute_loss(*args, **kwargs)


def test_nothing_is_traced_again_after_the_first_epoch():
    x, y = vectors()
    model = compiled(cls=CountedTraces)
    counts = []

    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            counts.append(CountedTraces.calls)

    CountedTraces.calls = 0
    fit(model, epochs=3, validation_data=(x, y), callbacks=[Count()])
    fit(model, epochs=1, validation_data=(x, y), callbacks=[Count()])
    if BACKEND == "torch":  # runs the Python code of every batch, once for training and once a model in validation
        assert np.diff(counts).tolist()[0] == 8 + 2 * 8
        return
    assert counts[0] >= 4
    assert counts == [counts[0]] * 4


def test_fit_again_runs_nothing_beforehand(monkeypatch):
    """Keras runs a model once at the start of every `fit` as long as a layer says that it is not built."""
    model = compiled("never")
    fit(model)
    calls, call = [], model.base.call
    monkeypatch.setattr(model.base, "call", lambda *args, **kwargs: calls.append(1) or call(*args, **kwargs))
    fit(model)
    assert len(calls) == (8 if BACKEND == "torch" else 0)


def test_no_retrace_with_convolutions_and_batch_norm():
    """The state keeps shapes, dtypes and structure from step to step, batch-norm buffers and seeds included."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 6, 6, 2)).astype("float32"), rng.integers(0, 3, 16)
    model = CountedTraces(resnet(4, 1), resnet(6, 2))
    model.compile("adamw", crossentropy(), motivation=Alternate())
    model.fit(x, y, batch_size=4, verbose=0)
    before = CountedTraces.calls
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert CountedTraces.calls - before == (8 if BACKEND == "torch" else 0)
