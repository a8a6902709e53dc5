"""Whenever a user looks, `model.base` and `model.motivated` hold the current weights."""

import itertools
import os
import signal
import threading

import keras
import numpy as np
import pytest
from helpers import Alternate, assert_in_step, crossentropy, mlp, numpy, pair_of, values, vectors

import keras_motivation as km


def compiled(**kwargs):
    model = km.MotivatedModel(*pair_of("both", mlp))
    model.compile("adam", crossentropy(), motivation=Alternate(), **kwargs)
    return model


def test_at_construction_the_motivated_model_takes_the_bases_weights():
    base, motivated = pair_of("both", mlp)
    base.set_weights([w + 1 for w in values(base)])
    extension = numpy(motivated.get_layer("hidden1").kernel)
    km.MotivatedModel(base, motivated, extension="random")
    assert_in_step(base, motivated)
    np.testing.assert_array_equal(numpy(motivated.get_layer("hidden1").kernel), extension)


def test_after_fit_also_for_who_holds_the_models_themselves():
    x, y = vectors()
    base, motivated = pair_of("both", mlp)
    model = km.MotivatedModel(base, motivated)
    model.compile("adam", crossentropy(), motivation=Alternate())
    model.fit(x, y, batch_size=4, verbose=0)
    assert_in_step(base, motivated)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_after_an_interrupted_fit(error):
    x, y = vectors()
    model = compiled()
    before = values(model.base)
    held = model.motivated

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                raise error

    with pytest.raises(error):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[Interrupt()])
    assert not all(np.array_equal(a, b) for a, b in zip(before, values(model.base)))
    assert_in_step(model._nested[0], held)
    model.fit(x, y, batch_size=4, verbose=0)


def test_an_interrupt_right_after_a_step(monkeypatch):
    """The worst moment: the step has taken over the state, and Keras has not yet noted down the new one."""
    x, y = vectors()
    model = compiled()
    model.make_train_function()
    step, calls = model.train_function, []

    def interrupted(*args):
        result = step(*args)
        calls.append(result)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return result

    model.train_function = interrupted
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=4, verbose=0)
    assert_in_step(model.base, model.motivated)
    assert np.isfinite(np.concatenate([w.ravel() for w in values(model.motivated)])).all()
    model.train_function = step
    model.fit(x, y, batch_size=4, verbose=0)


@pytest.fixture
def ctrl_c():
    """Python's own handler of SIGINT, which is ignored where the suite was started in the background."""
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, kept)


# Python reports an interrupt that hits a callback of the garbage collector as unraisable, and swallows it.
@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("ctrl_c")
def test_a_real_interrupt_in_the_middle_of_steps():
    """SIGINT from a timer, as Ctrl-C would send it, at moments that nobody chose."""
    x, y = vectors(batches=400)
    model = compiled()
    model.fit(x[:40], y[:40], batch_size=4, verbose=0)  # compiles

    class SendInterrupt(keras.callbacks.Callback):
        """Sends SIGINT from the first batch on, after a delay, and again until it is heard."""

        def __init__(self, delay):
            super().__init__()
            self.delay, self.heard = delay, threading.Event()
            self.thread = threading.Thread(target=self.send, daemon=True)

        def send(self):
            pause = self.delay
            while not self.heard.wait(pause):
                os.kill(os.getpid(), signal.SIGINT)
                pause = 2.0

        def on_train_batch_begin(self, batch, logs=None):
            if not self.thread.ident:
                self.thread.start()

    for delay in (0.01, 0.05, 0.09, 0.13):
        sender = SendInterrupt(delay)
        try:
            with pytest.raises(KeyboardInterrupt):
                model.fit(x, y, batch_size=4, epochs=50, verbose=0, callbacks=[sender])
        finally:
            sender.heard.set()
        assert_in_step(model.base, model.motivated)
        assert np.isfinite(np.concatenate([w.ravel() for w in values(model.motivated)])).all()


def test_an_error_in_the_first_step_loses_no_weight():
    """On JAX, Keras has taken the values out of the variables by then."""
    x, y = vectors()
    base, motivated = pair_of("both", mlp)
    model = km.MotivatedModel(base, motivated)
    before = values(base), values(motivated)

    def broken(y_true, y_pred):
        raise ArithmeticError("the user's loss is broken")

    model.compile("adam", broken)
    with pytest.raises(ArithmeticError, match="the user's loss is broken"):
        model.fit(x, y, batch_size=4, verbose=0)
    for nested, expected in zip((base, motivated), before):
        for actual, value in zip(values(nested), expected):
            np.testing.assert_array_equal(actual, value)


def test_inside_callbacks():
    x, y = vectors()
    model = compiled()
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch in (2, 5):
                assert_in_step(self.model.base, self.model.motivated)
                seen.append(values(self.model.motivated))

        def on_epoch_end(self, epoch, logs=None):
            assert_in_step(self.model.base, self.model.motivated)
            seen.append(values(self.model.motivated))

    model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y), callbacks=[Look()])
    assert len(seen) == 6
    for before, after in itertools.pairwise(seen):
        assert any(not np.array_equal(a, b) for a, b in zip(before, after))


def test_looking_in_mid_epoch_does_not_change_the_run():
    x, y = vectors()
    ends = []
    for look in (False, True):
        model = compiled()

        class Look(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None, look=look):
                if look:
                    values(self.model.motivated)

        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[Look()])
        ends.append(values(model.motivated))
    for blind, seen in zip(*ends):
        np.testing.assert_array_equal(blind, seen)


def test_after_train_on_batch_and_after_setting_the_bases_weights():
    x, y = vectors()
    model = compiled()
    for _ in range(3):
        model.train_on_batch(x, y)
        assert_in_step(model.base, model.motivated)
    model.base.set_weights([w + 1 for w in values(model.base)])
    assert_in_step(model.base, model.motivated)


def test_the_motivated_model_evaluates_by_itself_as_within_the_pair():
    x, y = vectors()
    model = compiled(metrics=["accuracy"])
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    for nested, prefix in ((model.base, ""), (model.motivated, "motivated_")):
        nested.compile(loss=crossentropy(), metrics=["accuracy"])
        for name, value in nested.evaluate(x, y, verbose=0, return_dict=True).items():
            np.testing.assert_allclose(logs[prefix + name], value, rtol=1e-4, err_msg=prefix + name)


class Look(keras.callbacks.Callback):
    """Evaluates a model that it holds, whenever asked; the pair's own hooks do not know of it."""

    def __init__(self, held, when):
        super().__init__()
        self.held, self.seen = held, []
        setattr(self, when, self.look)

    def look(self, *_, **__):
        self.seen.append([np.array(v) for v in values(self.held)])


HOOKS = ["on_epoch_end", "on_test_begin", "on_test_end", "on_train_batch_end", "on_train_end"]


@pytest.mark.parametrize(("when", "whole_list"), [*((when, False) for when in HOOKS), ("on_epoch_end", True)])
def test_callbacks_see_a_current_motivated_model(when, whole_list):
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp))
    base, held = model.base, model.motivated
    model.compile("adam", crossentropy(), motivation=km.Schedule([True, False]))  # ends with base batches
    look = Look(held, when)
    bases = []

    class Base(keras.callbacks.Callback):
        pass

    def note(*_, **__):
        model.attach_state()
        bases.append([np.array(v) for v in values(base)])

    other = Base()
    setattr(other, when, note)
    callbacks = [look, other]
    if whole_list:
        callbacks = keras.callbacks.CallbackList(callbacks, add_history=True, model=model)
    model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0, callbacks=callbacks)
    assert len(look.seen) == {"on_train_batch_end": 16, "on_train_end": 1}.get(when, 2)
    for held_values, base_values in zip(look.seen, bases, strict=True):
        inner = dict(zip([v.path for v in base.weights], base_values))
        outer = dict(zip([v.path for v in held.weights], held_values))
        for v in base.trainable_weights:
            window = tuple(slice(0, n) for n in v.shape)
            np.testing.assert_array_equal(outer[v.path][window], inner[v.path])
    if whole_list:  # the user's list is as before
        assert callbacks.callbacks[:2] == [look, other]


def test_a_checkpoint_of_the_held_motivated_model_is_what_the_log_says(tmp_path):
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp))
    held = model.motivated

    class Checkpoint(keras.callbacks.ModelCheckpoint):
        def set_model(self, _):
            super().set_model(held)

    path = str(tmp_path / "{epoch}.keras")
    model.compile("adam", crossentropy(), metrics=["accuracy"], motivation=km.Schedule([True, True, False]))
    history = model.fit(
        x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0, callbacks=[Checkpoint(path)]
    ).history
    for epoch in (1, 2):
        loaded = keras.saving.load_model(path.format(epoch=epoch), compile=False)
        loaded.compile("adam", crossentropy())
        expected = history["val_motivated_loss"][epoch - 1]
        np.testing.assert_allclose(loaded.evaluate(x, y, batch_size=4, verbose=0), expected, rtol=1e-5)


def test_callbacks_of_keras_cost_no_copy_each_batch(monkeypatch, tmp_path):
    x, y = vectors()
    model = compiled()
    copies = []
    monkeypatch.setattr(type(model), "sync", lambda self: copies.append(1))
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN(), km.MotivationHistory()])
    assert len(copies) < 12  # not one for each of 8 batches and more


@pytest.mark.parametrize("when", ["on_epoch_end", "on_test_end"])
def test_callbacks_see_what_the_callback_before_them_has_changed(when):
    """`SwapEMAWeights` puts averages in the place of the weights, and later takes them out again."""
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp))
    base, held = model.base, model.motivated
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, crossentropy(), motivation=km.Schedule([True, False]))
    look = Look(held, when)
    look_at_base = Look(base, when)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=when == "on_epoch_end")
    model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0, callbacks=[swap, look, look_at_base])
    for held_values, base_values in zip(look.seen, look_at_base.seen, strict=True):
        outer = dict(zip([v.path for v in held.weights], held_values))
        for v, value in zip(base.weights, base_values):
            if v.trainable:
                np.testing.assert_array_equal(outer[v.path][tuple(slice(0, n) for n in v.shape)], value)


def test_restored_best_weights_are_seen_at_the_end_of_training():
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp))
    base, held = model.base, model.motivated
    model.compile(keras.optimizers.SGD(2.0), crossentropy(), motivation=km.Schedule([True, False]))
    stop = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    look, look_at_base = Look(held, "on_train_end"), Look(base, "on_train_end")
    model.fit(x, y, batch_size=4, epochs=9, verbose=0, callbacks=[stop, look, look_at_base])
    outer = dict(zip([v.path for v in held.weights], look.seen[0]))
    for v, value in zip(base.weights, look_at_base.seen[0]):
        if v.trainable:
            np.testing.assert_array_equal(outer[v.path][tuple(slice(0, n) for n in v.shape)], value)


def test_as_often_as_one_looks():
    """Under TensorFlow, the copy is compiled after some calls."""
    model = km.MotivatedModel(mlp(4), [mlp(6, 2), mlp(8, 2)], extension="random")
    own = [np.array(numpy(larger.get_layer("hidden1").kernel)) for larger in model.models[1:]]  # the base has none
    for i in range(25):
        model.base.set_weights([np.full_like(value, i) for value in values(model.base)])
        for larger in model.models[1:]:
            assert_in_step(model.base, larger)
    for larger, kernel in zip(model.models[1:], own):
        np.testing.assert_array_equal(numpy(larger.get_layer("hidden1").kernel), kernel)
