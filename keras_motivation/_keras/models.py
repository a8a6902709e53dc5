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
COMPILED = (
    "_compile_config",
    "_compile_loss",
    "_compile_metrics",
    "_jit_compile",
    "_loss_tracker",
    "_run_eagerly",
    "compiled",
    "loss",
    "optimizer",
    "steps_per_execution",
)


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


@contextlib.contextmanager
def metrics_as(model: Any, other: Any) -> Iterator[None]:
    """A context in which a model has the metrics of another one, where both hold the same ones by the same name.

    The attributes are set past `__setattr__`, as in `compiled_as`. `_metrics` is Keras's list of all that it tracks.
    """
    attributes, theirs = vars(model), vars(other)
    alike = [name for name, value in attributes.items() if name != "_metrics" and _alike(value, theirs.get(name))]
    before = {name: attributes[name] for name in (*alike, "_metrics")}
    partners = {
        id(own): partner
        for name in alike
        for own, partner in zip(keras.tree.flatten(attributes[name]), keras.tree.flatten(theirs[name]))
    }
    attributes.update({name: theirs[name] for name in alike})
    attributes["_metrics"] = [partners.get(id(metric), metric) for metric in before["_metrics"]]
    try:
        yield
    finally:
        new = attributes["_metrics"][len(before["_metrics"]) :]  # made by the model in the meantime
        attributes.update(before)
        before["_metrics"].extend(new)


def _alike(value: Any, other: Any) -> bool:
    """Whether both are a metric, or a list or dictionary of metrics, of the same classes and names."""
    found = _metrics_in(value)
    return bool(found) and found == _metrics_in(other)


def _metrics_in(value: Any) -> list[Any]:
    """The classes and names of metrics in an attribute; none if anything else is in it."""
    if isinstance(value, keras.metrics.Metric):
        return [(type(value), value.name)]
    if isinstance(value, dict):
        parts = [(key, part) for key, part in value.items() if isinstance(key, str)]
    else:
        parts = [(str(i), part) for i, part in enumerate(value)] if isinstance(value, (list, tuple)) else []
    found = [(key, _metrics_in(part)) for key, part in parts]
    return found if all(inner for _, inner in found) else []


def compile_arguments(model: Any) -> dict[str, Any]:
    """The arguments of `keras.Model.compile` with which a model was compiled, perhaps by a `compile` of its own.

    The public `get_compile_config` gives them serialized, which not every loss and metric can be.
    """
    config = getattr(model, "_compile_config", None)
    return {} if config is None else dict(config.config)


def replace_optimizer(model: Any, optimizer: Any) -> None:
    """Gives a compiled model another optimizer. The public way, `compile`, may be the model's own and do more."""
    vars(model)["optimizer"] = optimizer
    if (config := getattr(model, "_compile_config", None)) is not None:
        config.config["optimizer"] = optimizer


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
