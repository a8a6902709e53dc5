"""Keras's models: how they are called, trained and written to files."""

import inspect
from typing import Any


def takes_training(model: Any) -> bool:
    """Whether the model's `call` has an argument `training`. Keras passes it only to such models."""
    return "training" in inspect.signature(model.call).parameters


def forget_initial_epoch(model: Any) -> None:
    """Removes what `keras.callbacks.BackupAndRestore` leaves: every later `fit` would start at the restored epoch, too.

    There is no public way to tell `fit` where to start, or to undo this.
    """
    model._initial_epoch = None


def writes_legacy_hdf5() -> bool:
    """Whether Keras is writing a model's config into a file of the old format, `.h5`. Only a private state shows it."""
    from keras.src.legacy.saving import saving_options

    return bool(saving_options.global_state.get_global_attribute("use_legacy_config", False))


def is_remote(path: Any) -> bool:
    """Whether `path` is not in the file system for Keras, such as `gs://` and `hf://`."""
    from keras.src.utils import file_utils

    return file_utils.is_remote_path(str(path))


def asks_to_overwrite(path: Any) -> bool:
    """Asks the user as Keras does for `overwrite=False`, and returns whether the answer is yes."""
    from keras.src.utils import io_utils

    return io_utils.ask_to_proceed_with_overwrite(path)
