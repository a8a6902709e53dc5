"""What goes wrong in a run of days: afterwards both models hold usable, consistent weights, and the error says why."""

import itertools

import keras
import numpy as np
import pytest
from helpers import (
    Alternate,
    Batches,
    Recorder,
    assert_in_step,
    assert_same_weights,
    compiled,
    crossentropy,
    fit,
    mlp,
    numpy,
    pair_of,
    values,
)
from helpers import vectors as data
from keras import ops

import keras_motivation as km
from keras_motivation.training.steps import DISPATCHES

BACKEND = keras.backend.backend()
RAN_OUT = "ignore:Your input ran out of data"


def assert_consistent(model):
    """Looks at the models themselves, as who holds on to them does: in step, and finite."""
    base, motivated = model._nested
    assert_in_step(base, motivated)
    assert np.isfinite(np.concatenate([w.ravel() for w in [*values(base), *values(motivated)]])).all()


def assert_usable(model):
    """Consistent, and training on from there, with the optimizer's counts right."""
    assert_consistent(model)
    before, iterations = values(model.base), int(model.optimizer.iterations.value)
    assert np.isfinite(fit(model).history["loss"]).all()
    assert int(model.optimizer.iterations.value) == iterations + 8
    assert not np.array_equal(before[0], values(model.base)[0])
    assert_consistent(model)


# ---- NaN and infinite losses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "bad"), [(0, "nan"), (1, "inf")], ids=["never-nan", "always-inf"])
def test_a_bad_loss_does_what_it_does_to_the_stock_model(which, bad):
    """Both models are spoilt then, as the stock model is; but none of it is motivated any more."""
    x, y = data()
    weights = np.ones(len(x), "float32")
    weights[17] = np.inf if bad == "inf" else 1.0
    x[17] = np.nan if bad == "nan" else x[17]
    arguments = {"batch_size": 4, "sample_weight": weights, "shuffle": False, "verbose": 0}
    stock = pair_of("both", lambda *sizes: mlp(*sizes, norm=False))[which]
    stock.compile("adam", crossentropy())
    losses = stock.fit(x, y, **arguments).history["loss"]
    model = km.MotivatedModel(*pair_of("both", lambda *sizes: mlp(*sizes, norm=False)), extension="random")
    model.compile("adam", crossentropy(), motivation=km.Always() if which else km.Never())
    history = model.fit(x, y, **arguments).history
    np.testing.assert_array_equal(np.isfinite(history["loss"]), np.isfinite(losses))
    assert not np.isfinite(losses[0])
    assert history["motivated"] == [5 / 8 if which else 0.0]  # batch 4 is the bad one; what follows is the base's
    assert_in_step(model.base, model.motivated)
    for pair, alone in zip(values(model._nested[which]), values(stock)):
        np.testing.assert_array_equal(np.isfinite(pair), np.isfinite(alone))
    if not which:
        extension = model.motivated.get_layer("hidden1")
        assert all(np.isfinite(w).all() for w in values(extension))


class TurnBad(keras.callbacks.Callback):
    """Puts NaN into the data before the third epoch."""

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.dataset.x = np.full_like(self.dataset.x, np.nan)


def test_the_way_back_from_a_nan(tmp_path):
    """By Keras's callbacks: the best pair is on disk, and a backup is not overwritten if `TerminateOnNaN` raises."""
    good = []

    class Remember(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            good.append([numpy(v) for v in [*self.model.variables, *self.model.optimizer.variables]])

    callbacks = [
        keras.callbacks.TerminateOnNaN(raise_error=True),
        keras.callbacks.ModelCheckpoint(tmp_path / "pair.keras", monitor="loss", save_best_only=True, mode="min"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        Remember(),
    ]
    model, dataset = compiled(km.LossStreak(1)), Batches(*data())
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered"):
        model.fit(dataset, epochs=4, shuffle=False, verbose=0, callbacks=[TurnBad(dataset), *callbacks])
    assert len(good) == 2
    assert not np.isfinite(values(model.base)[0]).all()
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    for actual, expected in zip([*loaded.variables, *loaded.optimizer.variables], good[-1]):
        np.testing.assert_array_equal(numpy(actual), expected, err_msg=actual.path)
    assert_usable(loaded)
    resumed = compiled(km.LossStreak(1))
    fit(resumed, epochs=3, callbacks=[callbacks[2], Remember()])  # takes up the backup of epoch 2
    assert len(good) == 3
    assert_consistent(resumed)


# ---- Data -----------------------------------------------------------------------------------------------------------


def test_batches_of_one_example():
    """In batch norm the variance of one vector is 0. As the stock model."""
    compare_with_stock(1, 1)


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_last_batch_of_one_example_in_one_call_with_others(dispatch):
    steps = 1 if BACKEND == "torch" else 2  # PyTorch refuses more, which test_fit tests
    compare_with_stock(1, 4, steps_per_execution=steps, dispatch=dispatch)


def compare_with_stock(which, size, **kwargs):
    """Fits 9 examples in batches of `size`, the pair and the stock model."""
    x, y = (part[:9] for part in data())
    stock = pair_of("both", mlp)[which]
    stock.compile("adam", crossentropy())
    expected = [float(stock.train_on_batch(x[i : i + size], y[i : i + size])) for i in range(0, 9, size)]
    model, record = compiled(("never", "always")[which], **kwargs), km.MotivationHistory()
    model.fit(x, y, batch_size=size, shuffle=False, verbose=0, callbacks=[record])
    np.testing.assert_allclose(record.losses, expected, rtol=1e-4)
    assert_same_weights(model._nested[which], stock, rtol=2e-4, atol=2e-6)
    assert_consistent(model)


def unknown_length(batches):
    """A data set of batches of 4 that does not tell its length."""
    tf = pytest.importorskip("tensorflow")
    x, y = data()
    signature = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in (x, y))

    def generate():
        yield from itertools.islice(Batches(x, y), batches)

    return tf.data.Dataset.from_generator(generate, output_signature=signature)


class CountsBatches(km.MotivationCondition):
    """Every third batch is motivated. Looks at no loss, so nothing in it waits for the batch."""

    def __init__(self):
        super().__init__()
        self.heard = self.add_state("heard", 0, dtype="int32")

    def update(self, loss):
        self.heard.assign(self.heard + 1)
        return ops.equal(self.heard % 3, 2)


@pytest.mark.filterwarnings(RAN_OUT)
def test_where_the_data_end_nothing_is_counted_once_more():
    """TensorFlow's graph begins one more step to find that there is no batch."""
    x, y = data()
    model, record = compiled(CountsBatches()), Recorder()
    history = model.fit(
        unknown_length(5), epochs=3, validation_data=unknown_length(3), shuffle=False, verbose=0, callbacks=[record]
    )
    assert int(model.optimizer.iterations.value) == 15
    assert int(model.motivation.heard.value) == 15
    assert record.motivated == [i % 3 == 2 for i in range(15)]
    np.testing.assert_allclose(history.history["motivated"], [1 / 5, 2 / 5, 2 / 5], rtol=1e-6)
    for name, value in model.evaluate(x[:12], y[:12], batch_size=4, verbose=0, return_dict=True).items():
        np.testing.assert_allclose(history.history[f"val_{name}"][-1], value, rtol=1e-5, err_msg=name)
    assert_usable(model)


def test_data_that_run_out():
    """6 batches for 2 epochs of 4: trains on what there is, warns, and says in the history what it was."""
    x, y = data()
    model, record = compiled(), Recorder()
    with pytest.warns(UserWarning, match="Your input ran out of data"):
        model.fit(
            (b for b in [*Batches(x, y)][:6]), steps_per_epoch=4, epochs=2, shuffle=False, verbose=0, callbacks=[record]
        )
    assert len(record.losses) == 6
    assert int(model.optimizer.iterations.value) == 6
    assert model.training_cost().examples == (12, 12)
    assert_consistent(model)


class Empty(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, i):
        raise IndexError


def no_data(kind):
    x, y = data()
    if kind == "arrays":
        return {"x": x[:0], "y": y[:0]}
    if kind == "dictionary":
        return {"x": {"x": x[:0]}, "y": y[:0]}
    if kind == "PyDataset":
        return {"x": Empty()}
    if kind == "generator":
        return {"x": (b for b in [])}
    tf = pytest.importorskip("tensorflow")
    return {"x": tf.data.Dataset.from_tensor_slices((x[:0], y[:0])).batch(4)}


def test_no_data():
    model = compiled()
    before = [numpy(v) for v in model.variables]
    for method in ("fit", "evaluate", "predict"):
        for kind in ("arrays", "dictionary", "PyDataset", "generator", "tf.data"):
            arguments = no_data(kind)
            if method == "predict":
                arguments.pop("y", None)
            with pytest.raises(ValueError, match=r"must (hold|yield) at least one batch. Received an empty"):
                getattr(model, method)(**arguments, **({"shuffle": False} if method == "fit" else {}), verbose=0)
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(numpy(variable), value, err_msg=variable.path)
    assert_usable(model)


@pytest.mark.filterwarnings(RAN_OUT)
def test_no_data_in_a_data_set_of_unknown_length():
    """Nobody can know beforehand. Keras warns that the data ran out; what comes of it differs by backend."""
    model = compiled()
    if BACKEND == "tensorflow":
        assert model.fit(unknown_length(0), shuffle=False, verbose=0).history == {}
    else:
        with pytest.raises(ValueError, match="at least one batch" if BACKEND == "jax" else "None was passed"):
            model.fit(unknown_length(0), shuffle=False, verbose=0)
    assert_consistent(model)


def test_a_generator_that_raises_in_mid_epoch():
    x, y = data()

    def failing():
        yield from [*Batches(x, y)][:5]
        raise OSError("the disk went away")

    expected, model = compiled(), compiled()
    for i in range(5):
        expected.train_on_batch(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4])
    # TensorFlow wraps it in an error of its own.
    with pytest.raises(Exception, match="the disk went away") as error:
        model.fit(failing(), shuffle=False, verbose=0)
    assert BACKEND == "tensorflow" or error.type is OSError
    assert_same_weights(model._nested[1], expected.motivated)
    assert_consistent(model)


# ---- Errors in what the user wrote, and interrupts ------------------------------------------------------------------


class BrokenCondition(km.MotivationCondition):
    def update(self, loss):
        raise ArithmeticError("the condition is broken")


def broken_metric(y_true, y_pred):
    raise ArithmeticError("the metric is broken")


@pytest.mark.parametrize(
    ("what", "kwargs"),
    [
        ("condition", {"motivation": BrokenCondition()}),
        ("metric", {"metrics": [broken_metric]}),
    ],
)
def test_errors_of_the_users_code_in_the_first_batch(what, kwargs):
    x, y = data()
    model = compiled(**kwargs)
    with pytest.raises((ArithmeticError, RuntimeError), match=f"the {what} is broken"):
        fit(model)
    if what == "metric":
        with pytest.raises((ArithmeticError, RuntimeError), match="the metric is broken"):
            model.evaluate(x, y, verbose=0)
    assert_consistent(model)
    # Keras keeps the former metrics where `compile` is given none.
    model.compile("adam", crossentropy(), metrics=["accuracy"], weighted_metrics=[], motivation=Alternate())
    assert_usable(model)


def test_an_interrupt_right_after_a_step(monkeypatch):
    """Under JAX the step has taken over the memory of all weights by then. (Of `fit`: in its validation.)"""
    x, y = data()
    model = compiled()
    fit(model, validation_data=(x, y))
    model.predict(x, batch_size=4, verbose=0)
    steps = {"evaluate": "test", "fit": "test", "test_on_batch": "test", "predict": "predict"}
    for method, kind in {**steps, "predict_on_batch": "predict", "train_on_batch": "train"}.items():
        before = values(model.motivated)
        step = getattr(model, f"{kind}_function")

        def interrupted(*arguments, step=step):
            step(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(model, f"{kind}_function", interrupted)
        kwargs = {} if method.endswith("batch") else {"verbose": 0}
        kwargs |= {"validation_data": (x, y)} if method == "fit" else {}
        with pytest.raises(KeyboardInterrupt):
            getattr(model, method)(*((x[:4],) if kind == "predict" else (x[:4], y[:4])), **kwargs)
        monkeypatch.setattr(model, f"{kind}_function", step)
        if method.endswith("batch"):
            assert_in_step(model.base, model.motivated)  # looking brings them up to date, as after any single batch
        assert_consistent(model)
        moved = any(not np.array_equal(a, b) for a, b in zip(values(model._nested[1]), before))
        assert moved == (method in ("fit", "train_on_batch")), method
    assert_usable(model)


def test_a_failed_batch_does_not_bring_back_older_weights():
    """Under JAX the state of the last step is kept, and must not be taken for that of a step that came to nothing."""
    x, y = data()
    model = compiled()
    model.train_on_batch(x[:4], y[:4])
    model.base.set_weights([w + 1 for w in values(model.base)])
    new = values(model.base)
    with pytest.raises(Exception, match=r"(?i)shape|dimension|axis|incompatible|size"):
        model.train_on_batch(x[:4, :2], y[:4])
    for actual, expected in zip(values(model.base), new):
        np.testing.assert_array_equal(actual, expected)
    assert_in_step(model.base, model.motivated)
    assert_usable(model)


def test_a_step_that_fails_on_the_device():
    """What TensorFlow and PyTorch keep, a failed step under JAX has lost, as in Keras; the error says so."""
    model = compiled()
    if BACKEND == "jax":
        fit(model)
        step, kept = model.train_function, [numpy(v) for v in [*model.variables, *model.optimizer.variables]]

        def failing(state, iterator):
            step(state, iterator)
            model._jax_state = None  # the error comes before the new state
            raise MemoryError("out of memory")

        model.train_function = failing
        with pytest.raises(MemoryError) as caught:
            fit(model)
        assert "weights of both models are lost" in "".join(caught.value.__notes__)
        model.train_function = step
        for variable, value in zip([*model.variables, *model.optimizer.variables], kept):
            variable.assign(value)  # as loading a checkpoint does
    else:

        def checked(y_true, y_pred):
            if BACKEND == "torch":
                raise MemoryError("out of memory")
            import tensorflow as tf

            with tf.control_dependencies([tf.debugging.Assert(tf.reduce_sum(y_pred) > 1e9, ["out of memory"])]):
                return crossentropy()(y_true, y_pred)

        before = values(model.motivated)
        model.compile(model.optimizer, checked, motivation=Alternate())
        with pytest.raises(Exception, match="out of memory"):
            fit(model)
        model.compile(model.optimizer, crossentropy(), motivation=Alternate())
        for trained, v, old in zip((v.trainable for v in model._nested[1].weights), values(model._nested[1]), before):
            assert not trained or np.array_equal(v, old)
    assert_usable(model)
