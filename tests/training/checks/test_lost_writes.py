"""What a user writes over the shared weights in the motivated model: never lost without a word, and no false alarms."""

import warnings

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, mlp, numpy, pair_of, values, vectors

import keras_motivation as km

LOST = r"Shared weights were written in the motivated model 'mlp_6_2'.*copy_to_base.*Received: \['"


def trained():
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp), extension="random")
    model.compile("sgd", crossentropy(), motivation=Alternate())
    model.fit(x, y, batch_size=4, verbose=0)
    return model


@pytest.fixture(scope="module")
def pair():
    """A trained pair; the tests leave it in a state in which nothing is lost."""
    return trained()


def in_step(pair):
    """Both models hold the same shared weights, and nothing is said of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        held = pair.motivated
    for entry, placement in zip(pair.weights_map.entries, pair.weights_map.placements):
        if entry.base.trainable:
            inner = keras.ops.convert_to_numpy(placement.take(entry.motivated.value))
            np.testing.assert_array_equal(inner, numpy(entry.base))
    return held


LOOKS = {
    "look": lambda pair: pair.motivated,
    "sync": lambda pair: pair.sync(),
    "fit": lambda pair: pair.fit(*vectors(), batch_size=4, verbose=0),
    "train_on_batch": lambda pair: pair.train_on_batch(*vectors(1)),
    "evaluate": lambda pair: pair.evaluate(*vectors(), verbose=0),
    "get_config": lambda pair: pair.get_config(),
}


@pytest.mark.parametrize("look", LOOKS)
def test_weights_set_in_the_motivated_model_are_not_lost_silently(pair, look):
    held = in_step(pair)
    held.set_weights([w + 1 for w in values(held)])
    with pytest.warns(UserWarning, match=LOST) as caught:
        LOOKS[look](pair)
    assert len([w for w in caught if "Shared weights" in str(w.message)]) == 1
    in_step(pair)  # said once


def test_weights_loaded_from_a_file_and_saved_at_once(pair, tmp_path):
    held = in_step(pair)
    held.save_weights(tmp_path / "m.weights.h5")
    held.load_weights(tmp_path / "m.weights.h5")  # the same
    in_step(pair)
    held.set_weights([w + 1 for w in values(held)])
    held.save_weights(tmp_path / "m.weights.h5")
    pair.weights_map.copy_to_motivated()
    held.load_weights(tmp_path / "m.weights.h5")
    with pytest.warns(UserWarning, match=LOST):
        pair.save(tmp_path / "pair.keras")
    in_step(pair)


def test_a_fit_of_the_motivated_model_alone(pair):
    held = in_step(pair)
    held.compile("sgd", crossentropy())
    held.fit(*vectors(1), verbose=0)
    with pytest.warns(UserWarning, match=LOST):
        pair.motivated  # noqa: B018


def test_whoever_wants_them_gives_them_to_the_base(pair):
    held = in_step(pair)
    new = [w + 0.5 for w in values(held)]
    held.set_weights(new)
    pair.weights_map.copy_to_base()
    in_step(pair)
    for actual, expected in zip(values(pair.motivated), new):
        np.testing.assert_array_equal(actual, expected)


def test_no_false_alarm(pair, tmp_path):
    """Whatever else changes either model goes without a word: `in_step` would raise."""
    x, y = vectors()
    held = in_step(pair)
    rest = held.get_layer("hidden0").kernel  # (6, 6), of which the base stores (4, 4)
    rest.assign(np.where(np.arange(6) < 4, numpy(rest), 7.0))
    in_step(pair)
    assert numpy(rest)[0, 5] == 7.0
    pair.base.set_weights([w * 0.9 for w in values(pair.base)])
    in_step(pair)
    km.recalibrate_batch_norm(held, [x])
    in_step(pair)
    pair.evaluate(x, y, verbose=0)
    pair.predict(x, verbose=0)
    in_step(pair)
    for _ in range(2):
        pair.train_on_batch(x, y)
    in_step(pair)
    pair.train_on_batch(x, y)
    stale = pair.get_weights()
    in_step(pair)
    pair.set_weights(stale)
    in_step(pair)
    pair.save_weights(tmp_path / "pair.weights.h5")
    pair.fit(x, y, batch_size=4, verbose=0)
    pair.load_weights(tmp_path / "pair.weights.h5")
    in_step(pair)


def test_no_false_alarm_with_shared_statistics():
    x, y = vectors()
    pair = km.MotivatedModel(*pair_of("both", mlp), extension="random", statistics="shared")
    pair.compile("sgd", crossentropy(), motivation="never")
    km.recalibrate_batch_norm(in_step(pair), [x])  # as the docs say: whoever holds on to it keeps them till the look
    in_step(pair)
    pair.train_on_batch(x, y)
    in_step(pair)


def test_no_false_alarm_in_a_loop_of_ones_own(pair):
    """Around `train_step`, without `fit` or `train_on_batch`, after a look."""
    in_step(pair)
    x, y = vectors(1)
    if keras.backend.backend() == "jax":
        lists = (pair.trainable_variables, pair.non_trainable_variables, pair.optimizer.variables)
        lists = (*lists, pair.metrics_variables)
        state = tuple([v.value for v in variables] for variables in lists)
        for _ in range(2):
            _, state = pair.train_step(state, (x, y))
        for variables, new in zip(lists, state):
            for variable, value in zip(variables, new):
                variable.assign(value)
    else:
        for _ in range(2):
            pair.train_step((keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)))
    in_step(pair)


def test_looks_within_fit_say_nothing():
    pair = trained()

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            in_step(self.model)

    in_step(pair)
    pair.fit(*vectors(), batch_size=4, epochs=2, verbose=0, callbacks=[Look()], validation_data=vectors())
    in_step(pair)
