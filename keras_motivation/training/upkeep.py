"""Callbacks of `fit`: the plan of the training, and current weights in all models for the user's callbacks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation.interface import Pair
from keras_motivation.training.checks.variables import check_frozen_alike
from keras_motivation.training.optimizers.parts import accumulation_steps

BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


class Plan(keras.callbacks.Callback):
    """Tells the condition how long the training is, once other callbacks may have restored an earlier state."""

    planned = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Before the first epoch of this `fit`."""
        if self.planned:
            return
        self.planned = True
        steps, window = self.params.get("steps"), accumulation_steps(self.model.optimizer)
        total = None if steps is None else self.params["epochs"] * steps // window
        self.model._compiled_pair.decider.plan(total, (steps or 0) * epoch // window)


class Check(keras.callbacks.Callback):
    """Checks both models before each epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """A callback may not have changed the set of variables since the last step, or frozen a weight in one model."""
        self.model.check_variables()
        check_frozen_alike(self.model.weights_maps)


class Upkeep(Check):
    """Updates the motivated model at the end of epochs and before validation, and checks both models.

    A callback may evaluate or save a motivated model to which it has a reference. Its copy of the shared weights must
    then be up to date; Keras does not know of this copy.
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """For callbacks that save or evaluate after an epoch."""
        self.model.sync()

    def on_test_begin(self, logs: Any = None) -> None:
        """For callbacks that read the model before or during validation."""
        self.model.sync()

    def on_test_end(self, logs: Any = None) -> None:
        """For callbacks that read the model after validation."""
        self.model.sync()

    def on_train_end(self, logs: Any = None) -> None:
        """For callbacks that read the model after training."""
        self.model.sync()


class UpkeepEachBatch(Upkeep):
    """Also updates the motivated model after each batch, which costs a copy of all shared weights.

    This is a class of its own, because Keras calls a callback after each batch only if it has the method for it.
    """

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """For callbacks of the user that read the model after a batch."""
        self.model.sync()


@contextlib.contextmanager
def kept_up(pair: Pair, callbacks: Any) -> Iterator[Any]:
    """Gives the callbacks of a `fit`, with an `Upkeep` before each, because the previous one may have changed weights.

    Args:
        pair: A `MotivatedModel`.
        callbacks: What the user passed to `fit`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):  # made by the user for this model
        given = list(callbacks.callbacks)
        callbacks.callbacks[:] = _interleaved(given)
        for callback in callbacks.callbacks:
            if isinstance(callback, (Check, Plan)):
                callback.set_model(pair)
                callback.set_params(callbacks.params or {})
        try:
            yield callbacks
        finally:
            callbacks.callbacks[:] = given
    else:
        yield _interleaved(keras.tree.flatten(callbacks) if callbacks else [])


def _interleaved(callbacks: list[Any]) -> list[Any]:
    found: list[Any] = []
    for callback in callbacks:
        found += [UpkeepEachBatch() if _looks_at_batches(callback) else Upkeep(), callback]
    return [Plan(), *(found or [Check()])]  # without callbacks, nothing is copied before the end of `fit`


def _looks_at_batches(callback: Any) -> bool:
    """Whether a callback runs the user's code around a batch. Keras's callbacks and ours read only the pair."""
    if isinstance(getattr(callback, "save_freq", None), int):
        return True  # `ModelCheckpoint`, which may have been given another model
    for hook in BATCH_HOOKS:
        if hook in vars(callback):  # `LambdaCallback`
            return True
        owner = next(kind for kind in type(callback).__mro__ if hook in vars(kind))
        if not owner.__module__.startswith(("keras.src.", "keras_motivation.")):
            return True
    return False
