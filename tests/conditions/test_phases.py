"""Phases of a training."""

import keras
import numpy as np
import pytest
from helpers import Batches, compiled, fit, vectors

import keras_motivation as km


def levels(model, **kwargs):
    record = km.MotivationHistory()
    x, y = vectors()
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[record], **kwargs)
    return record.levels.tolist()


def three_kinds(*phases, **kwargs):
    return compiled(km.Phases(*phases), motivated_batch=["alternate", "joint"], **kwargs)


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        (((0.5, 0), (0.75, 1), (1.0, 2)), [0] * 8 + [1] * 4 + [2] * 4),
        (((3, 0), (9, 2), (16, 1)), [0] * 3 + [2] * 6 + [1] * 7),
        (((3, 1), (None, 0)), [1] * 3 + [0] * 13),
        (((0.1, 2), (1.0, 0)), [2] * 2 + [0] * 14),
        (((1.0, 1),), [1] * 16),
        (((0.5, km.Always), (1.0, km.Never)), [2] * 8 + [0] * 8),
    ],
)
def test_levels_of_a_training(phases, expected):
    phases = [(until, level() if isinstance(level, type) else level) for until, level in phases]
    assert levels(three_kinds(*phases), epochs=2) == expected


def test_a_condition_decides_in_its_phase_and_hears_all_losses():
    condition = km.Phases((2, 0), (5, km.LossStreak(k=2)), (None, 1))
    found = [int(condition.observe(loss)) for loss in [5.0, 4.0, 3.0, 3.0, 2.0, 1.0]]
    assert found == [0, 0, 1, 0, 1, 1]


def test_the_next_training_starts_again():
    model = three_kinds((0.5, 0), (1.0, 1))
    assert levels(model) == levels(model) == [0] * 4 + [1] * 4
    assert levels(model, epochs=3, initial_epoch=1) == [0] * 4 + [1] * 12


def test_a_training_in_two_calls_is_one():
    model = three_kinds((0.25, 0), (0.5, 1), (1.0, 2))
    expected = [0] * 8 + [1] * 8 + [2] * 16
    assert levels(model, epochs=4) == expected
    # A shorter `fit` would be a shorter training, so stop the long one.
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1))
    x, y = vectors()
    model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[stop])
    assert levels(model, epochs=4, initial_epoch=2) == expected[16:]


def test_resumed_after_a_kill(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("out of power")

    def run(*callbacks):
        model, record = three_kinds((0.3, 0), (0.7, 1), (1.0, 2)), km.MotivationHistory()
        x, y = vectors()
        model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[record, *callbacks])
        return record.levels.tolist()

    with pytest.raises(RuntimeError, match="out of power"):
        run(km.BackupAndRestore(tmp_path), Kill())
    assert run(km.BackupAndRestore(tmp_path)) == run()[16:]


def test_accumulated_gradients_make_one_decision():
    model = compiled(km.Phases((0.5, 0), (1.0, 1)))
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), model.loss, motivation=model.motivation)
    assert levels(model) == [0] * 4 + [1] * 4


def test_saved_with_its_conditions(tmp_path):
    model = three_kinds((0.5, km.LossStreak(k=1)), (1.0, 2))
    expected = levels(model)
    model.save(tmp_path / "pair.keras")
    loaded = keras.saving.load_model(tmp_path / "pair.keras")
    assert loaded.motivation.ends == [0.5, 1.0]
    assert loaded.motivation.levels[0].k == 1
    assert len(levels(loaded)) == len(expected)


def test_data_of_known_and_unknown_length():
    model = compiled(km.Phases((0.5, 0), (1.0, 1)))
    model.fit(Batches(*vectors()), verbose=0)
    before = [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.variables]
    x, y = vectors(1)
    with pytest.raises(ValueError, match="pass `steps_per_epoch` to `fit`"):
        model.fit(((x, y) for _ in range(8)), verbose=0, shuffle=False)
    for v, value in zip(model.variables, before):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(v.value), value)
    model.fit(((x, y) for _ in range(8)), steps_per_epoch=8, verbose=0, shuffle=False)


def test_batch_by_batch():
    x, y = vectors(1)
    with pytest.raises(ValueError, match="needs the length of the training, which only `fit` knows"):
        compiled(km.Phases((0.5, 0), (1.0, 1))).train_on_batch(x, y)
    model = compiled(km.Phases((1, 0), (None, 1)))
    shares = [model.train_on_batch(x, y, return_dict=True)["motivated"] for _ in range(3)]
    np.testing.assert_allclose(shares, [0, 1, 1])


def test_a_list_of_callbacks_made_by_the_user():
    model = compiled(km.Phases((0.5, 0), (1.0, 1)))
    callbacks = keras.callbacks.CallbackList([], add_history=True, model=model, epochs=1, steps=8)
    assert fit(model, callbacks=callbacks).history["motivated"] == [0.5]


@pytest.mark.parametrize(
    ("phases", "error", "message"),
    [
        ((), ValueError, "pairs .until, level. whose ends increase"),
        (((0.5, 0),), ValueError, "whose ends increase, as fractions up to 1.0"),
        (((0.5, 0), (0.5, 1), (1.0, 0)), ValueError, "whose ends increase"),
        (((0.5, 0), (10, 1)), ValueError, "whose ends increase"),
        (((None, 0), (10, 1)), ValueError, "whose ends increase"),
        (((1.5, 0),), ValueError, "must be a fraction in"),
        (((0, 0),), ValueError, "must be a fraction in"),
        (((True, 0),), ValueError, "must be a fraction in"),
        (((1.0, -1),), TypeError, "must be an integer or a `MotivationCondition`"),
        (((1.0, "always"),), TypeError, "must be an integer or a `MotivationCondition`"),
        ((0.5,), TypeError, "must be pairs"),
    ],
)
def test_refused(phases, error, message):
    with pytest.raises(error, match=message):
        km.Phases(*phases)


def test_refused_before_training():
    with pytest.raises(ValueError, match=r"must have levels from 0 to 1\. Received: 2"):
        compiled(km.Phases((0.5, 0), (1.0, 2)))
    with pytest.raises(ValueError, match="must cover the training of 8 updates"):
        levels(compiled(km.Phases((2, 0), (7, 1))))
