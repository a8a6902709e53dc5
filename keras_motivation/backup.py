"""Going on after a kill, from the last whole epoch."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.random_states import random_states, set_random_states
from keras_motivation.whole_files import flush

WHOLE, PARTIAL, RANDOM = r"epoch-\d+", r"partial-.+", "random.json"


class BackupAndRestore(keras.callbacks.Callback):
    """As `keras.callbacks.BackupAndRestore` after every epoch, but safe from a kill at any moment, and to the bit.

    Keras's callback writes the weights and then, into another file, the epoch's number. A kill between the two leaves
    the weights of one epoch with the number of the one before, and the resumed run trains an epoch twice without a
    word. This one has Keras's write both into a new folder, which takes its place in one move; it reads the newest.

    It also backs up the random generators of the process (Python's, NumPy's, Keras's, and PyTorch's), which order the
    data of `fit(shuffle=True)` and which, under PyTorch, `Dropout` without a `seed` draws from.

    After a kill, the same program started again goes on with the next epoch. At the end of `fit` the backup is deleted.

    Args:
        backup_dir: Local folder for this run alone; every process of a distributed run needs one of its own.
        delete_checkpoint: Whether the backup is deleted when training is through. If not, a later `fit` with the same
            folder goes on from there.

    Raises:
        ValueError: If `backup_dir` is empty or not local; in `fit`, if the backup does not fit the model.

    Examples:
        >>> import keras, numpy as np, tempfile
        >>> import keras_motivation as km
        >>> def pair():
        ...     def mlp(width):
        ...         return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(1)])
        ...     model = km.MotivatedModel(mlp(2), mlp(3))
        ...     model.compile("adam", "mse")
        ...     return model
        >>> class Kill(keras.callbacks.Callback):
        ...     def on_epoch_begin(self, epoch, logs=None):
        ...         if epoch == 2:
        ...             raise RuntimeError("out of power")
        >>> data, folder = (np.ones((8, 4)), np.ones((8, 1))), tempfile.mkdtemp()
        >>> try:
        ...     history = pair().fit(*data, epochs=5, verbose=0, callbacks=[km.BackupAndRestore(folder), Kill()])
        ... except RuntimeError:
        ...     history = pair().fit(*data, epochs=5, verbose=0, callbacks=[km.BackupAndRestore(folder)])
        >>> history.epoch
        [2, 3, 4]
    """

    def __init__(self, backup_dir: Any, delete_checkpoint: bool = True) -> None:
        super().__init__()
        if not str(backup_dir) or _keras.is_remote(backup_dir):
            raise ValueError(f"Argument `backup_dir` must be a local folder. Received: backup_dir={backup_dir!r}")
        self.backup_dir = os.path.abspath(backup_dir)
        self.delete_checkpoint = delete_checkpoint

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores the newest backup, if there is one."""
        if whole := self._folders(WHOLE):
            self._keras_in(whole[-1]).on_train_begin(logs)
            with open(os.path.join(whole[-1], RANDOM)) as file:
                set_random_states(json.load(file))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """`fit` has begun where it should; the next one is not to begin there too."""
        _keras.forget_initial_epoch(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Backs up, and then deletes what was there before, also what a kill has left unfinished."""
        os.makedirs(self.backup_dir, exist_ok=True)
        partial = tempfile.mkdtemp(prefix="partial-", dir=self.backup_dir)
        try:
            self._keras_in(partial).on_epoch_end(epoch, logs)
            with open(os.path.join(partial, RANDOM), "w") as file:
                json.dump(random_states(), file)
            for name in os.listdir(partial):
                flush(os.path.join(partial, name))
            os.rename(partial, os.path.join(self.backup_dir, f"epoch-{epoch + 1}"))
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for folder in [*self._folders(WHOLE)[:-1], *self._folders(PARTIAL)]:
            shutil.rmtree(folder)

    def on_train_end(self, logs: Any = None) -> None:
        """Deletes the backup."""
        _keras.forget_initial_epoch(self.model)
        if not self.delete_checkpoint:
            return
        for folder in self._folders(WHOLE):  # renamed first: a kill while it is deleted must not leave half of it
            os.rename(folder, os.path.join(self.backup_dir, f"partial-{os.path.basename(folder)}"))
        for folder in self._folders(PARTIAL):
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # there may be other things in it
            os.rmdir(self.backup_dir)

    def _keras_in(self, folder: str) -> keras.callbacks.BackupAndRestore:
        callback = keras.callbacks.BackupAndRestore(folder)
        callback.set_model(self.model)
        return callback

    def _folders(self, pattern: str) -> list[str]:
        """The folders of such names, those of more epochs last."""
        names = os.listdir(self.backup_dir) if os.path.isdir(self.backup_dir) else []
        found = sorted((name for name in names if re.fullmatch(pattern, name)), key=lambda name: (len(name), name))
        return [os.path.join(self.backup_dir, name) for name in found]
