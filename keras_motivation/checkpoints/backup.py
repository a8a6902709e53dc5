"""A callback that continues a killed run from the last finished epoch."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.checkpoints.random_states import random_states, set_random_states
from keras_motivation.checkpoints.whole_files import flush

WHOLE, PARTIAL, RANDOM = r"epoch-\d+", r"partial-.+", "random.json"


class BackupAndRestore(keras.callbacks.Callback):
    """Like `keras.callbacks.BackupAndRestore` after every epoch, but safe if the run is killed, and exact to the bit.

    Keras's callback writes the weights, and then the number of the epoch into another file. After a kill between the
    two, the weights of one epoch stand beside the number of the previous epoch. The resumed run then trains an epoch
    twice, without any message. This callback lets Keras's callback write both into a new folder, and moves this folder
    to its place in one step. It restores the newest folder.

    It also saves the random generators of the process (Python's, NumPy's, Keras's, and PyTorch's). They decide the
    order of the data in `fit(shuffle=True)`. Under PyTorch, `Dropout` without a `seed` also uses them.

    After a kill, start the same program again: it continues with the next epoch. At the end of `fit` the backup is
    deleted.

    Args:
        backup_dir: Local folder for this run only. Every process of a distributed run needs its own folder.
        delete_checkpoint: Whether the backup is deleted at the end of training. If not, a later `fit` with the same
            folder continues from there.

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
        """`fit` has started at the right epoch. The next `fit` must not start there again."""
        _keras.forget_initial_epoch(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes a backup, and then deletes older and unfinished ones."""
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
        for folder in self._folders(WHOLE):  # renamed first, so that a kill cannot leave half of it
            os.rename(folder, os.path.join(self.backup_dir, f"partial-{os.path.basename(folder)}"))
        for folder in self._folders(PARTIAL):
            shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # the folder may have other files
            os.rmdir(self.backup_dir)

    def _keras_in(self, folder: str) -> keras.callbacks.BackupAndRestore:
        callback = keras.callbacks.BackupAndRestore(folder)
        callback.set_model(self.model)
        return callback

    def _folders(self, pattern: str) -> list[str]:
        """The folders whose names match, sorted by their number of epochs."""
        names = os.listdir(self.backup_dir) if os.path.isdir(self.backup_dir) else []
        found = sorted((name for name in names if re.fullmatch(pattern, name)), key=lambda name: (len(name), name))
        return [os.path.join(self.backup_dir, name) for name in found]
