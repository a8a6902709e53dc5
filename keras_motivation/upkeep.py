"""What keeps both models right for whoever looks at them while `fit` runs: a callback before each of the user's."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation.checks import check_frozen_alike

BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")


class Check(keras.callbacks.Callback):
    """Looks at both models before each epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """No callback may have changed the set of variables since the last step, or frozen a weight in one model."""
        self.model.check_variables()
        check_frozen_alike(self.model.weights_map)


class Upkeep(Check):
    """Brings the motivated model up to date at the ends of epochs and before validation, and checks both models.

    A callback may evaluate or save the motivated model that it holds; Keras shows it the base, which stores the shared
    weights, and does not know of the copy.
    """

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """For callbacks that save or evaluate after an epoch."""
        self.model.sync()

    def on_test_begin(self, logs: Any = None) -> None:
        """For callbacks that look before or during validation."""
        self.model.sync()

    def on_test_end(self, logs: Any = None) -> None:
        """For callbacks that look after validation."""
        self.model.sync()

    def on_train_end(self, logs: Any = None) -> None:
        """For callbacks that look after training."""
        self.model.sync()


class UpkeepEachBatch(Upkeep):
    """The same after each batch, at the cost of a copy of all shared weights. Keras calls it for its method only."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """For callbacks of the user's that look after a batch."""
        self.model.sync()


@contextlib.contextmanager
def kept_up(pair: Any, callbacks: Any) -> Iterator[Any]:
    """Gives the callbacks of a `fit` with an `Upkeep` before each: the one before may have changed weights.

    Args:
        pair: A `MotivatedModel`.
        callbacks: What the user passed to `fit`.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):  # made by the user for this model
        given = list(callbacks.callbacks)
        callbacks.callbacks[:] = _interleaved(given)
        for callback in callbacks.callbacks:
            if isinstance(callback, Check):
                callback.set_model(pair)
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
    return found or [Check()]  # where nobody looks, nothing is copied before the end of `fit`


def _looks_at_batches(callback: Any) -> bool:
    """Whether a callback does something of the user's around a batch; Keras's own and ours look at the pair only."""
    if isinstance(getattr(callback, "save_freq", None), int):
        return True  # `ModelCheckpoint`, which may have been given another model
    for hook in BATCH_HOOKS:
        if hook in vars(callback):  # `LambdaCallback`
            return True
        owner = next(kind for kind in type(callback).__mro__ if hook in vars(kind))
        if not owner.__module__.startswith(("keras.src.", "keras_motivation.")):
            return True
    return False
