"""Trainings that are killed and started again, each time in a process of its own; `test_resume.py` runs this script.

One process imports everything and forks a child for each training before any backend has computed something, since an
import takes as long as all the trainings together.
"""

import contextlib
import functools
import json
import os
import pathlib
import signal
import sys
import time

import keras
import numpy as np
from helpers import crossentropy, numpy, pair_of, randomise, vectors
from keras import layers

import keras_motivation as km

EPOCHS, BATCHES = 9, 8


def net(width, hidden, seed):
    """With batch norm, and with dropout, whose seeds must go on."""
    inputs = keras.Input((5,))
    x = layers.Dense(width, name="first")(inputs)
    for i in range(hidden):
        y = layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(x)
        y = layers.Dropout(0.3, seed=seed, name=f"dropout{i}")(layers.Activation("relu")(y))
        x = layers.Add()([x, layers.Dense(width, name=f"hidden{i}")(y)])
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name=f"net_{width}_{hidden}")


def family(dropout_seed):
    """A compiled family with the same weights each time. The kinds of some batches are drawn."""
    sizes = [(4, 1), (6, 1), (6, 2), (8, 2)]
    base, *larger = [randomise(net(*size, dropout_seed), seed) for seed, size in enumerate(sizes, start=1)]
    model = km.MotivatedModel(base, larger, extension="random")
    condition = km.Budget(1.5, km.Phases((0.6, Streak(1)), (1.0, 3)))
    model.compile("adam", crossentropy(), metrics=["accuracy"], motivation=condition, motivated_batch="sandwich")
    return model


def pair(dropout_seed):
    """A compiled pair with the same weights each time."""
    model = km.MotivatedModel(*pair_of("both", functools.partial(net, seed=dropout_seed)), extension="random")
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 100)
    optimizer = keras.optimizers.AdamW(schedule, clipnorm=1.0)
    model.compile(optimizer, crossentropy(), metrics=["accuracy"], motivation=Streak(1))
    return model


def fit(model, everything, callbacks, **kwargs):
    """With `everything`, shuffles and validates."""
    x, y = vectors(batches=BATCHES)
    kwargs = {"epochs": EPOCHS, "shuffle": everything, **kwargs}
    if everything:
        kwargs["validation_data"] = x[:6], y[:6]
    return model.fit(x, y, batch_size=4, verbose=0, callbacks=callbacks, **kwargs)


def state(model):
    """Weights, seeds, memory, counts, optimizer state."""
    return [numpy(v) for v in [*model.variables, *model.optimizer.variables]]


class Batches(keras.callbacks.Callback):
    """Writes down which epochs began and which batches were motivated, in a file that survives the process."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        self.flags = []
        with open(self.path, "a") as file:
            file.write(json.dumps([epoch, None]) + "\n")

    def on_train_batch_end(self, batch, logs=None):
        self.flags.append(bool(round((batch + 1) * float(logs["motivated"])) - sum(self.flags)))

    def on_epoch_end(self, epoch, logs=None):
        with open(self.path, "a") as file:
            file.write(json.dumps([epoch, self.flags]) + "\n")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class KilledAtBatch(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at = [epoch, batch]

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if [self.epoch, batch] == self.at:
            die()


class Slow(keras.callbacks.Callback):
    """So that a moment taken at random finds training under way: some time after the first batch, of a second or so."""

    def __init__(self, started):
        super().__init__()
        self.started = started

    def on_train_batch_end(self, batch, logs=None):
        self.started.touch()
        time.sleep(0.03)


@keras.saving.register_keras_serializable(__name__)
class Streak(km.LossStreak):
    """Its memory is written in the middle of the file: some of the pair's parts come before it, some after."""

    saves, killed_at = 0, 0

    def save_own_variables(self, store):
        super().save_own_variables(store)
        Streak.saves += 1
        if Streak.saves == Streak.killed_at:
            die()


def killed_after(function, n):
    """Replaces a function of `os` by one that kills the process after its n-th call."""
    original, calls = getattr(os, function), []

    def counted(*arguments, **kwargs):
        calls.append(original(*arguments, **kwargs))
        if len(calls) == n:
            die()

    setattr(os, function, counted)


def start(saver, process):
    """The beginning of a program: a pair to train from scratch, or to go on with, and whether data are shuffled.

    What only our callback restores is random in its runs only: the order of the data, and under PyTorch dropout without
    a seed. In the other runs, each process starts from a random seed of its own, which must not matter.
    """
    everything = saver in ("km.BackupAndRestore", "family")
    keras.utils.set_random_seed(0 if everything else process)
    make = family if saver == "family" else pair
    return make(5 if keras.backend.backend() == "torch" and not everything else None), everything


def train(folder, saver, process, kill):
    """A user's program: trains, or goes on with what it finds. Killed as `kill` says: a kind and its arguments."""
    kind, *arguments = kill
    initial_epoch = 0
    model, everything = start(saver, process)
    if saver == "ModelCheckpoint":
        path = folder / "pair.keras"
        callbacks = [keras.callbacks.ModelCheckpoint(path)]
        if path.exists():
            model = keras.saving.load_model(path)
            initial_epoch = int(numpy(model.optimizer.iterations)) // BATCHES
    else:
        library = keras.callbacks if saver == "keras.callbacks.BackupAndRestore" else km
        callbacks = [library.BackupAndRestore(str(folder / "backup"))]
    if kind == "batch":
        callbacks.append(KilledAtBatch(*arguments))
    if kind == "writing":
        Streak.killed_at = arguments[0]
    if kind == "after":
        killed_after(*arguments)
    if kind == "time":
        callbacks.append(Slow(folder / "started"))
    fit(model, everything, [Batches(folder / "batches"), *callbacks], initial_epoch=initial_epoch)
    np.savez(folder / "end.npz", *state(model))


def forked(folder, kill, *arguments):
    """Runs `train` in a child, which must come to the end that `kill` says."""
    child = os.fork()
    if child == 0:
        train(folder, *arguments, kill)
        os._exit(0)
    if kill[0] == "time":
        while not (folder / "started").exists():
            time.sleep(0.01)
        time.sleep(kill[1])
        os.kill(child, signal.SIGKILL)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == (0 if kill[0] == "never" else -signal.SIGKILL), (kill, ended)


if __name__ == "__main__":
    with contextlib.suppress(ImportError):  # Keras's random seeds import it under every backend
        import tensorflow  # noqa: F401
    for saver, kills in json.loads(sys.argv[2]).items():
        folder = pathlib.Path(sys.argv[1]) / saver
        folder.mkdir()
        for i, kill in enumerate([*kills, ["never"]]):
            started = time.time()
            forked(folder, kill, saver, i)
            print(saver, kill, f"{time.time() - started:.1f} s", flush=True)
