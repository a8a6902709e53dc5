"""Gradient accumulation and loss scaling: the condition decides once an update of the weights, and loses nothing."""

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, images, mlp, numpy, pair_of, resnet, values, vectors
from keras import layers

import keras_motivation as km


def net(width, hidden):
    inputs = x = keras.Input((5,))
    for i in range(hidden):
        y = layers.Dense(width, "tanh", name=f"hidden{i}")(x)
        x = layers.Add()([x, y]) if i else y
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def trained(optimizer, batch, motivation=None, epochs=2, **kwargs):
    model = km.MotivatedModel(*pair_of("both", net), extension="random")
    model.compile(optimizer, crossentropy(), motivation=motivation or km.LossStreak(1), **kwargs)
    history = km.MotivationHistory()
    x, y = vectors(32, 4)
    model.fit(x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0, callbacks=[history])
    return model, np.array(history.motivated), np.array(history.losses)


OPTIMIZERS = {
    "sgd": lambda **kwargs: keras.optimizers.SGD(0.1, momentum=0.9, **kwargs),
    "adamw": lambda **kwargs: keras.optimizers.AdamW(0.02, weight_decay=0.1, global_clipnorm=0.5, **kwargs),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("motivated_batch", ["alternate", "joint"])
def test_accumulated_batches_are_one_large_batch(kind, motivated_batch):
    """The same weights, the same decisions; and an epoch need not be a multiple of the window."""
    large, decided, losses = trained(OPTIMIZERS[kind](), 16, motivated_batch=motivated_batch)
    small, windows, parts = trained(OPTIMIZERS[kind](gradient_accumulation_steps=4), 4, motivated_batch=motivated_batch)
    assert 0 < decided.sum() < len(decided)
    np.testing.assert_array_equal(windows.reshape(-1, 4), np.repeat(decided[:, None], 4, axis=1))
    np.testing.assert_allclose(parts.reshape(-1, 4).mean(axis=1), losses, rtol=1e-5)
    for v, actual, expected in zip(small.weights, values(small), values(large)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7, err_msg=v.path)


@pytest.mark.usefixtures("float64")
def test_a_window_goes_on_in_the_next_epoch_and_after_loading(tmp_path):
    """32 batches are 10 windows of 3 and two thirds of another, whose gradients and loss must not be lost."""

    def optimizer():
        return keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)

    going_on, windows, _ = trained(optimizer(), 4)
    assert all(len(set(window)) == 1 for window in windows[:63].reshape(-1, 3))
    assert 0 < windows.sum() < len(windows)
    saved, _, _ = trained(optimizer(), 4, epochs=1)
    saved.save(tmp_path / "pair.keras")
    loaded = keras.saving.load_model(tmp_path / "pair.keras")
    x, y = vectors(32, 4)
    loaded.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for v, actual, expected in zip(going_on.variables, loaded.variables, going_on.variables):
        np.testing.assert_array_equal(numpy(actual), numpy(expected), err_msg=v.path)


def test_accumulation_with_convolutions_and_batch_norm():
    model = km.MotivatedModel(*pair_of("both", resnet))
    model.compile(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2), crossentropy(), motivation=Alternate())
    history = km.MotivationHistory()
    model.fit(*images(), batch_size=4, shuffle=False, verbose=0, callbacks=[history])
    assert list(history.motivated) == [False, False, True, True] * 2
    assert int(model.optimizer.iterations) == 4


@pytest.mark.usefixtures("mixed_float16")
@pytest.mark.parametrize("accumulated", [None, 2])
def test_an_overflow_on_a_motivated_batch_changes_nothing(accumulated):
    x, y = vectors(1)
    model = km.MotivatedModel(*pair_of("both", mlp), extension="random")
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=accumulated)
    model.compile(optimizer, crossentropy(), motivation=km.LossStreak(1))
    for _ in range(2 * (accumulated or 1)):
        model.train_on_batch(x, y)
    assert bool(model.motivation.motivated)  # the loss on the one batch has fallen
    trainables = model.trainable_variables
    memory = [*model.motivation.variables, *optimizer.variables]

    def state():
        model.sync()  # the entries that the base stores are a copy here
        return [np.array(numpy(v)) for v in (*trainables, *memory)]

    before = state()
    model.optimizer.dynamic_scale.assign(2.0**60)
    loss = model.train_on_batch(x, y)
    assert np.isfinite(loss)  # it is the scaled gradients that overflow
    for v, now, then in zip((*trainables, *memory), state(), before):
        np.testing.assert_array_equal(now, then, err_msg=v.path)
    assert float(model.optimizer.dynamic_scale) == 2.0**59
    model.optimizer.dynamic_scale.assign(2.0**8)
    for _ in range(accumulated or 1):
        assert bool(model.motivation.motivated)  # the next one is motivated again
        model.train_on_batch(x, y)
    changed = [not np.array_equal(a, b) for a, b in zip(state(), before)]
    assert all(changed[: len(trainables)])


@pytest.mark.usefixtures("mixed_float16")
@pytest.mark.parametrize("accumulated", [None, 2])
def test_a_motivated_model_that_overflows_does_not_train_for_ever(accumulated):
    x, y = vectors(1)
    model = km.MotivatedModel(*pair_of("width", mlp), extension="random")
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulated)
    model.compile(optimizer, crossentropy(), motivation=km.LossStreak(1))
    model.train_on_batch(x, y)
    kernel = model.motivated.get_layer("hidden0").kernel
    kernel.assign(keras.ops.where(np.arange(6) < 4, kernel.value, 6e4))  # beyond float16 in sums
    model.motivation.level.assign(1)
    before = values(model.base)
    assert not np.isfinite(model.train_on_batch(x, y))
    assert not bool(model.motivation.motivated)
    assert all(np.isfinite(numpy(v)).all() for v in model.base.trainable_variables)
    for _ in range(2):
        model.train_on_batch(x, y)
    assert not np.array_equal(values(model.base)[0], before[0])  # the base trains on


def test_clipping_by_weight_cannot_be_accumulated_in_two_pieces():
    def compiled(kind):
        model = km.MotivatedModel(*pair_of(kind, mlp))
        model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2, clipnorm=1.0), crossentropy())

    compiled("depth")
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps=2, clipnorm=1\.0"):
        compiled("width")
