"""A budget for the whole training is kept, whatever the condition would choose."""

import keras
import numpy as np
import pytest
from helpers import compiled, crossentropy, mlp, numpy, randomise, some, vectors
from hypothesis import given
from hypothesis import strategies as st

import keras_motivation as km
from keras_motivation.conditions.phases import power_for

CONDITIONS = {
    "never": km.Never,
    "always": km.Always,
    "streak": lambda: km.LossStreak(k=1),
    "random": lambda: km.RandomActivation(0.3, seed=1),
    "early": lambda: km.Between(km.Always(), stop=40),
    "phases": lambda: km.Phases((0.6, 0), (1.0, 1)),
    "phases by batches": lambda: km.Phases((20, 1), (150, 0), (None, 1)),
    "phases with a condition": lambda: km.Phases((0.5, km.LossStreak(1)), (1.0, 0)),
    "plateau": lambda: km.LossPlateau(fast=2, slow=6),
}


def run(model, epochs=10, examples=73, batch_size=4, **kwargs):
    """19 batches an epoch, the last of one example."""
    record = km.MotivationHistory()
    x, y = vectors(20)
    model.fit(x[:examples], y[:examples], batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[record], **kwargs)
    return record.levels


SHARES = zip(CONDITIONS, [0.9, 0.65, 0.8, 0.65, 0.9, 0.65, 0.9, 0.65, 0.9])


@pytest.mark.parametrize(("condition", "share"), some(SHARES))
def test_is_kept(condition, share):
    model = compiled(km.Budget(share, CONDITIONS[condition]()))
    run(model)
    assert model.training_cost().relative_to_motivated == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("kind", "share"), [("joint", 0.7), (["alternate", "joint"], 1.0), ("joint", 1.3)], ids=str)
def test_is_kept_with_joint_batches(kind, share):
    model = compiled(km.Budget(share, km.LossStreak(k=1)), motivated_batch=kind)
    run(model)
    assert model.training_cost().relative_to_motivated == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("condition", [lambda: km.LossStreak(k=1), lambda: km.RandomActivation([0.3, 0.2], seed=1)])
def test_is_kept_by_three_sizes(condition):
    base, *larger = [randomise(mlp(*size), seed) for seed, size in enumerate([(4, 1), (6, 2), (9, 3)], start=1)]
    model = km.MotivatedModel(base, larger, extension="random")
    model.compile("adam", crossentropy(), motivation=km.Budget(0.6, condition()))
    levels = run(model)
    assert set(levels) == {0, 1, 2}
    assert model.training_cost().relative_to_motivated == pytest.approx(0.6, abs=0.01)


def test_phases_keep_their_order():
    model = compiled(km.Budget(0.7, km.Phases((0.2, 0), (0.6, 1), (1.0, 2))), motivated_batch=["alternate", "joint"])
    levels = run(model)
    changes = np.flatnonzero(np.diff(levels))
    assert [levels[0], *levels[changes + 1]] == [0, 1, 2]
    assert model.training_cost().relative_to_motivated == pytest.approx(0.7, abs=0.01)


def test_a_condition_of_single_batches_is_spread():
    """It does not spend all at the start."""
    levels = run(compiled(km.Budget(0.7, km.Always())))
    thirds = [part.mean() for part in np.array_split(levels > 0, 3)]
    assert thirds[1] > 0.1
    assert thirds[2] > 0.1


def test_a_resumed_training_keeps_it(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 4:
                raise RuntimeError("out of power")

    def train(*callbacks):
        model = compiled(km.Budget(0.8, km.Between(km.Always(), stop=50)))
        x, y = vectors(20)
        model.fit(x, y, batch_size=4, epochs=8, shuffle=False, verbose=0, callbacks=list(callbacks))
        return model

    whole = train()
    with pytest.raises(RuntimeError, match="out of power"):
        train(km.BackupAndRestore(tmp_path), Kill())
    resumed = train(km.BackupAndRestore(tmp_path))
    for ours, theirs in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))
    assert whole.training_cost().relative_to_motivated == pytest.approx(0.8, abs=0.01)


def test_each_training_has_its_own():
    model = compiled(km.Budget(0.9, km.Never()))
    run(model)
    first = model.training_cost()
    model.fit(*vectors(20), batch_size=4, epochs=10, verbose=0)
    second = model.training_cost()
    spent = (second.flops - first.flops) / (second.motivated_alone - first.motivated_alone)
    assert spent == pytest.approx(0.9, abs=0.01)


def test_saved_and_loaded(tmp_path):
    model = compiled(km.Budget(0.75, km.LossStreak(k=3)))
    model.fit(*vectors(), verbose=0)
    model.save(tmp_path / "pair.keras")
    loaded = keras.saving.load_model(tmp_path / "pair.keras").motivation
    assert (loaded.share, loaded.condition.k) == (0.75, 3)


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=4, unique=True), st.data())
def test_moved_phases_cost_what_is_promised(ends, data):
    ends = sorted(ends)
    prices = data.draw(st.lists(st.sampled_from([0.5, 1.0, 1.5]), min_size=len(ends) + 1, max_size=len(ends) + 1))
    share = data.draw(st.floats(0.55, 1.45))
    power = power_for(share, ends, prices)
    if power is not None:
        moved = [0.0, *(end**power for end in ends), 1.0]
        assert moved == sorted(moved)
        cost = sum(price * (b - a) for price, a, b in zip(prices, moved, moved[1:]))
        assert cost == pytest.approx(share, abs=1e-3)
    elif prices[0] != prices[-1]:
        assert not min(prices[0], prices[-1]) + 0.02 < share < max(prices[0], prices[-1]) - 0.02


def test_promised_and_spent():
    model, seen = compiled(km.Budget(0.8, km.LossStreak(k=1)), metrics=["accuracy"]), []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(float(logs["spent"])))
    x, y = vectors(20)
    fitted = {"batch_size": 4, "verbose": 0, "validation_data": (x, y)}
    history = model.fit(x, y, epochs=10, callbacks=[note], **fitted).history
    np.testing.assert_allclose(history["budget"], 0.8, rtol=1e-6)
    assert seen == sorted(seen)
    assert seen[19::20] == pytest.approx(history["spent"])
    assert seen[0] == pytest.approx(0.8 / 200, rel=0.5)
    cost = model.training_cost()
    assert (cost.promised, cost.spent) == pytest.approx((0.8, cost.relative_to_motivated))
    assert history["spent"][-1] == pytest.approx(cost.spent)
    assert not {"val_spent", "val_motivated_spent", "val_budget"} & set(history)
    assert len(model.train_on_batch(x[:4], y[:4])) == 2  # as of a stock model
    assert compiled(km.Never()).training_cost().promised is None


def open_net(width):
    x = keras.layers.Dense(width, "relu", name="inner")(inputs := keras.Input((None, 5)))
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling1D()(x)))


def test_open_axes(tmp_path):
    """Models for inputs of any size need a shape, for the cost."""
    x, y = vectors(50)
    model = km.MotivatedModel(open_net(4), open_net(8))
    with pytest.raises(ValueError, match=r"`input_shape` must be given.*leave axes open"):
        model.compile("sgd", crossentropy(), motivation=km.Budget(0.8, km.LossStreak(k=1)))
    model.compile("sgd", crossentropy(), motivation=km.Budget(0.8, km.LossStreak(k=1), input_shape=(6, 5)))
    model.fit(np.repeat(x[:, None], 6, axis=1), y, batch_size=4, epochs=4, verbose=0)
    assert model.training_cost().relative_to_motivated == pytest.approx(0.8, abs=0.01)
    model.save(tmp_path / "pair.keras")
    assert tuple(keras.saving.load_model(tmp_path / "pair.keras").motivation.input_shape) == (6, 5)


def test_refused():
    for share in (0, -1, True, "all", float("inf"), float("nan")):
        with pytest.raises(ValueError, match="`share` must be a positive number"):
            km.Budget(share, km.Never())
    with pytest.raises(TypeError, match="`condition` must be a `MotivationCondition`"):
        km.Budget(0.5, "always")
    for share in (0.1, 1.01):
        with pytest.raises(ValueError, match="the cost of the cheapest level relative to the largest model alone"):
            compiled(km.Budget(share, km.Never()))
    with pytest.raises(ValueError, match="must be the outermost condition"):
        compiled(km.Between(km.Budget(0.8, km.Never())))
    model = compiled(km.Budget(0.8, km.Phases((0.5, 0), (1.0, 0))))
    with pytest.raises(ValueError, match="must reach the promised cost with other switches"):
        run(model)
    model = compiled(km.Budget(0.8, km.Never()))
    x, y = vectors(1)
    with pytest.raises(ValueError, match="`Budget` needs the length of the training"):
        model.fit(((x, y) for _ in range(8)), verbose=0, shuffle=False)
    with pytest.raises(ValueError, match="needs the length of the training, which only `fit` knows"):
        model.train_on_batch(x, y)
