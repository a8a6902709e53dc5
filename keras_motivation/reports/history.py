"""A callback for `fit` that records the level and the loss of each batch, and the cost."""

import collections
from typing import Any

import keras
import numpy as np

from keras_motivation.interface import Pair


class MotivationHistory(keras.callbacks.Callback):
    """Records the loss and the level of every batch, and logs the cost of training.

    The batches are recorded on the device. They are read every `every` batches and at the end of an epoch, so there is
    no transfer per batch. The logs, and so `history.history`, get `cost_to_base` and `cost_to_motivated`: the FLOPs of
    the epoch, relative to training one model alone on the same data. `MotivatedModel.training_cost` has the cost of the
    whole training. If FLOPs cannot be counted, there is a warning with the reason, and the logs have no costs.

    Args:
        limit: How many batches are kept at most, the last ones. Each needs 8 bytes.
        every: The batches are read after at most this number of batches.
        input_shape: Shape of one example, as in `count_flops`. Needed if the models have open axes.
        log_dir: Folder for TensorBoard scalars: `batch/loss` and `batch/level`, written whenever batches are read.
            (`keras.callbacks.TensorBoard` writes the logs of the epochs.) Needs the package tensorboard.

    Attributes:
        losses: Array of shape `(batches,)`, float32: the loss of each batch, from the (smallest) model that trained.
        levels: Array of shape `(batches,)`, int32: the level of each batch; 0 if the base trained.
        motivated: Array of shape `(batches,)`, bool: whether the level is above 0.
        epochs: For each epoch its array of levels, as `Schedule.elsewhere` takes them.

    Raises:
        ValueError: If `limit` or `every` is below 1; before training, if `input_shape` does not fit the models.
        TypeError: If the model is not a `MotivatedModel`.
        ImportError: If `log_dir` is given and tensorboard is not installed.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(1)])
        >>> model = km.MotivatedModel(mlp(2), mlp(3))
        >>> model.compile("sgd", "mse", motivation=km.Schedule([False, False, True, False]))
        >>> record = km.MotivationHistory()
        >>> logs = model.fit(np.ones((16, 4)), np.ones((16, 1)), batch_size=4, verbose=0, callbacks=[record]).history
        >>> record.motivated.tolist(), record.losses.shape
        ([False, False, True, False], (4,))
        >>> round(logs["cost_to_motivated"][0], 3), round(logs["cost_to_base"][0], 3)
        (0.75, 1.125)
    """

    def __init__(self, limit: int = 1_000_000, every: int = 512, input_shape: Any = None, log_dir: Any = None) -> None:
        super().__init__()
        for name, value in (("limit", limit), ("every", every)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Argument `{name}` must be an integer of at least 1. Received: {name}={value!r}")
        self.limit, self.every, self.input_shape = limit, every, input_shape
        # Each chunk has the number of its epoch, losses and levels.
        self._chunks: collections.deque[tuple[int, np.ndarray, np.ndarray]] = collections.deque()
        self._epoch = self._pending = self._batches = self._since = 0
        self._record: Any = None
        self._scalars = None if log_dir is None else _scalar_writer(log_dir)

    @property
    def losses(self) -> np.ndarray:
        """The loss of each batch, from the (smallest) model that trained."""
        self._fetch()
        return np.concatenate([np.empty(0, "float32"), *(losses for _, losses, _ in self._chunks)])

    @property
    def levels(self) -> np.ndarray:
        """The level of each batch."""
        self._fetch()
        return np.concatenate([np.empty(0, "int32"), *(levels for _, _, levels in self._chunks)])

    @property
    def motivated(self) -> np.ndarray:
        """Whether each batch was motivated."""
        return self.levels > 0

    @property
    def epochs(self) -> list[np.ndarray]:
        """The levels of each epoch."""
        self._fetch()
        found: dict[int, list[np.ndarray]] = {}
        for epoch, _, levels in self._chunks:
            found.setdefault(epoch, []).append(levels)
        return [np.concatenate(chunks) for chunks in found.values()]

    def set_model(self, model: Any) -> None:
        """Receives the model from Keras, before Keras makes the training function."""
        if not isinstance(model, Pair):
            raise TypeError(f"`MotivationHistory` records the training of a `MotivatedModel`. Received: {model!r}")
        self._fetch()  # the rest of a `fit` that was interrupted
        self._record = None
        super().set_model(model)
        model.record_batches(self.every + model.steps_per_execution, self.input_shape)

    def on_train_begin(self, logs: Any = None) -> None:
        """The record begins here, because the pair may have been trained without this callback before."""
        self._record = self.model.batch_log
        self._since = self._record.count()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts a new list of levels."""
        self._fetch()
        self._epoch += 1

    # Not at the end of a batch: Keras would read the logs of every batch for a callback that has this method.
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Reads the record if enough batches are waiting."""
        if self._pending >= self.every:
            self._fetch()
        self._pending += self.model.steps_per_execution

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Reads the rest."""
        self._fetch()

    def on_train_end(self, logs: Any = None) -> None:
        """The record ends here. After an interruption, which Keras does not report, it ends when it is read next."""
        self._fetch()
        self._record = None

    def _fetch(self) -> None:
        if self._record is None:
            return
        self.model.attach_state()
        losses, levels = self._record.read(self._since)
        self._since += len(losses)
        self._pending = 0
        if not len(losses):
            return
        self._chunks.append((self._epoch, losses, levels))
        self._write(losses, levels)
        surplus = sum(len(chunk[1]) for chunk in self._chunks) - self.limit
        while surplus > 0:
            epoch, losses, levels = self._chunks.popleft()
            if surplus < len(losses):
                self._chunks.appendleft((epoch, losses[surplus:], levels[surplus:]))
            surplus -= len(losses)

    def _write(self, losses: np.ndarray, levels: np.ndarray) -> None:
        first, self._batches = self._batches, self._batches + len(losses)
        if self._scalars is None:
            return
        for step, (loss, level) in enumerate(zip(losses, levels), start=first):
            self._scalars.add_scalar("batch/loss", float(loss), step)
            self._scalars.add_scalar("batch/level", float(level), step)
        self._scalars.flush()


def _scalar_writer(log_dir: Any) -> Any:
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise ImportError("Argument `log_dir` needs the package tensorboard: pip install tensorboard") from error
    return Writer(str(log_dir))
