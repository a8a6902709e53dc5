"""A run that is killed and started again ends with the bits of the run that was never killed."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from killed_runs import BATCHES, EPOCHS, Batches, fit, start, state

import keras_motivation as km

# Ends of the processes of one training, the last of which is not killed; and the epochs that each of them begins.
# "after" is after the n-th call of a function: weights are in place and their epoch's number is not, and the like.
KILLS = {
    "km.BackupAndRestore": [
        (["batch", 1, 5], [0, 1]),
        (["writing", 2], [1, 2]),
        (["after", "replace", 2], [2, 3]),
        (["after", "rename", 2], [3, 4]),
        (["time", 0.21], None),
        (["time", 0.37], None),
    ],
    "keras.callbacks.BackupAndRestore": [(["writing", 2], [0, 1]), (["batch", 2, 0], [1, 2])],
    "ModelCheckpoint": [
        (["writing", 3], [0, 1, 2]),
        (["batch", 3, 7], [2, 3]),
        (["after", "replace", 1], [3]),
        (["time", 0.29], None),
    ],
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of the killed runs, all of which one process starts."""
    folder = tmp_path_factory.mktemp("killed")
    script = pathlib.Path(__file__).with_name("killed_runs.py")
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
    left = {p.name for p in (killed / saver).iterdir()} - {"batches", "end.npz"}
    partial = {name for name in left if name.startswith(".partial-")}
    assert left - partial == ({"pair.keras"} if saver == "ModelCheckpoint" else set())
    assert len(partial) == (1 if saver == "ModelCheckpoint" else 0)  # of the kill amid the writing


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _flags(path):
    """Flags by epoch; of an epoch that was trained twice, since a kill fell into its backup, those of the last time."""
    return list({epoch: flags for epoch, flags in _lines(path) if flags is not None}.values())
