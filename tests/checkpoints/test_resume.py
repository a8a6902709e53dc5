"""A run that is killed and started again ends with the bits of the run that was never killed."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from killed_runs import BATCHES, EPOCHS, Batches, fit, pair, start, state

import keras_motivation as km

# Ends of the processes of one training, the last of which is not killed; and the epochs that each of them begins.
# "after" is after the n-th call of a function: weights are in place and their epoch's number is not, and the like.
KILLS = {
    "km.BackupAndRestore": [
        (["batch", 1, 5], [0, 1]),
        (["writing", 2], [1, 2]),
        (["after", "replace", 2], [2, 3]),
        (["after", "rename", 2], [3, 4]),
        (["time", 0.37], None),
    ],
    "keras.callbacks.BackupAndRestore": [(["writing", 3], [0, 1, 2])],
    "ModelCheckpoint": [(["writing", 2], [0, 1]), (["time", 0.29], None)],
    "family": [(["batch", 5, 5], [0, 1, 2, 3, 4, 5])],
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of the killed runs, all of which one process starts."""
    folder = tmp_path_factory.mktemp("killed")
    script = pathlib.Path(__file__).parents[1] / "killed_runs.py"
    kills = {saver: [kill for kill, _ in rows] for saver, rows in KILLS.items()}
    root = os.path.dirname(os.path.dirname(km.__file__))
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join([root, str(script.parent)])
    command = [sys.executable, script, folder, json.dumps(kills)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("saver", KILLS)
def test_a_killed_run_ends_as_if_it_had_never_been_killed(saver, killed, tmp_path):
    model, everything = start(saver, 0)
    fit(model, everything, [Batches(tmp_path / "batches")])
    expected, flags = state(model), _flags(tmp_path / "batches")
    with np.load(killed / saver / "end.npz") as end:
        assert len(end) == len(expected)
        for i, value in enumerate(expected):
            np.testing.assert_array_equal(end[f"arr_{i}"], value)
    assert _flags(killed / saver / "batches") == flags
    assert 0 < sum(sum(epoch) for epoch in flags) < EPOCHS * BATCHES


@pytest.mark.slow
@pytest.mark.parametrize("saver", KILLS)
def test_no_finished_epoch_is_trained_again_or_left_out(saver, killed):
    lines = _lines(killed / saver / "batches")
    begun = [epoch for epoch, flags in lines if flags is None]
    known = [epoch for _, epochs in KILLS[saver] for epoch in epochs or []]
    assert begun[: len(known)] == known
    assert sorted(set(begun)) == list(range(EPOCHS))
    repeated = len(begun) - EPOCHS
    assert repeated <= len(KILLS[saver])  # at most the one that was not finished, for each kill


@pytest.mark.slow
@pytest.mark.parametrize("saver", KILLS)
def test_nothing_but_the_last_checkpoint_is_left(saver, killed):
    left = {p.name for p in (killed / saver).iterdir()} - {"batches", "end.npz", "started"}
    partial = {name for name in left if name.startswith(".partial-")}
    assert left - partial == ({"pair.keras"} if saver == "ModelCheckpoint" else set())
    if saver == "ModelCheckpoint":  # one of the kill amid the writing; the kill at a random moment may have hit one too
        assert 1 <= len(partial) <= len(KILLS[saver])
    else:
        assert not partial


class SeedOfTheEpoch(keras.callbacks.Callback):
    """What docs/resuming.md advises where our callback is not used."""

    def on_epoch_begin(self, epoch, logs=None):
        keras.utils.set_random_seed(100 + epoch)


def test_with_a_seed_for_every_epoch_shuffled_data_repeat_their_order(tmp_path):
    """Also dropout without a seed, under PyTorch."""

    def fresh():
        keras.utils.set_random_seed(3)
        return pair(None)

    # Each begins as a process would: under TensorFlow the order comes from the seed at the start of `fit`.
    uninterrupted = fresh()
    fit(uninterrupted, True, [SeedOfTheEpoch()], epochs=3)
    first = fresh()
    fit(first, True, [SeedOfTheEpoch(), keras.callbacks.ModelCheckpoint(tmp_path / "pair.keras")], epochs=2)
    keras.utils.set_random_seed(3)
    resumed = keras.saving.load_model(tmp_path / "pair.keras")
    fit(resumed, True, [SeedOfTheEpoch()], epochs=3, initial_epoch=2)
    for one, two in zip(state(resumed), state(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, two)


class Orders(keras.callbacks.Callback):
    """The order of the examples in each epoch, read off the running mean of the losses 2^0, 2^1, ..."""

    def on_train_begin(self, logs=None):
        self.orders = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.sums = self.orders[epoch] = []

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append(round((batch + 1) * float(logs["loss"])))


def orders(initial_epoch=0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    callback = Orders()
    x, y = np.ones((12, 1)), 2.0 ** (np.arange(12)[:, None] / 2)
    model.fit(x, y, batch_size=1, epochs=4, initial_epoch=initial_epoch, verbose=0, callbacks=[callback])
    return callback.orders


def test_what_keras_does_with_shuffled_arrays():
    """docs/resuming.md says so: a new process begins with the order of the first epoch, and not with its turn."""
    whole, resumed = orders(), orders(2)
    if keras.backend.backend() == "tensorflow":  # one order for all epochs
        assert whole[0] == whole[1] == whole[2] == whole[3] == resumed[2]
    else:
        assert len({str(order) for order in whole.values()}) == 4
        assert [resumed[2], resumed[3]] == [whole[0], whole[1]]


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _flags(path):
    """Flags by epoch; of an epoch that was trained twice, since a kill fell into its backup, those of the last time."""
    return list({epoch: flags for epoch, flags in _lines(path) if flags is not None}.values())
