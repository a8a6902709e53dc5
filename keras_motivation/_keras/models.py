"""Keras's models: how they are called, compiled, trained and written to files."""

import contextlib
import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import keras

# What `compile` makes, and what Keras's `compute_loss`, `compute_metrics` and `metrics` read.
COMPILED = ("_compile_loss", "_compile_metrics", "_loss_tracker", "compiled", "optimizer")


def takes_training(model: Any) -> bool:
    """Whether the model's `call` has an argument `training`. Keras passes it only to such models."""
    return "training" in inspect.signature(model.call).parameters


@contextlib.contextmanager
def compiled_as(model: Any, other: Any) -> Iterator[None]:
    """A context in which a model has the loss, the metrics and the optimizer with which another one was compiled.

    `compile` would make new ones. They are set past `__setattr__`, by which a model would track them as its own.
    """
    attributes = vars(model)
    before = {name: attributes[name] for name in COMPILED if name in attributes}
    attributes.update({name: getattr(other, name) for name in COMPILED})
    try:
        yield
    finally:
        for name in COMPILED:
            del attributes[name]
        attributes.update(before)


def compile_arguments(model: Any) -> dict[str, Any]:
    """The arguments of `keras.Model.compile` with which a model was compiled, perhaps by a `compile` of its own.

    The public `get_compile_config` gives them serialized, which not every loss and metric can be.
    """
    config = getattr(model, "_compile_config", None)
    return {} if config is None else dict(config.config)


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


def loads_lambdas() -> bool:
    """Whether files with Python lambdas load here. Keras has no public way to ask."""
    from keras.src.saving.serialization_lib import in_safe_mode

    return in_safe_mode() is False


def has_stock_from_config(kind: Any) -> bool:
    """Whether a class is made from its config by Keras's own `from_config`, which passes all of it to the constructor.

    Each of Keras's base classes has its own.
    """
    method = getattr(kind, "from_config", None)
    return inspect.ismethod(method) and method.__module__ in ("keras.src.ops.operation", "keras.src.models.model")


def saved_config(model: Any) -> Any:
    """The config of a model as a `.keras` file has it.

    Keras looks for TensorFlow's types in it, and would import TensorFlow for this, which takes seconds under another
    backend. As long as it is not imported, there are none.
    """
    from keras.src.utils.module_utils import tensorflow

    known = tensorflow._available
    if "tensorflow" not in sys.modules:
        tensorflow._available = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas
            return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    finally:
        tensorflow._available = known
