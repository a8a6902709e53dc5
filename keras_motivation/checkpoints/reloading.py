"""Whether Keras can write the nested models into a `.keras` file and load it again, found before training.

Only the configs are made and read. To build each model again would tell more, but it takes seconds and the memory of
the model. `incomplete_configs` does so where there is a reason for it.
"""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.checkpoints.incomplete_configs import left_out
from keras_motivation.checkpoints.saving import NOT_HDF5

REGISTER = "decorate it with `@keras.saving.register_keras_serializable()`, or load with `custom_objects`"
LIBRARIES = ("keras", "keras_hub", "keras_cv", "keras_nlp")  # Keras finds their classes by itself

# Where Keras looks for a function that is not registered.
HOLD_FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "optimizers", "regularizers")


@dataclass(frozen=True)
class Fault:
    """Why a model cannot be saved, or cannot be loaded as it is.

    Attributes:
        model: Name of the model.
        why: The reason, and what to do.
        writing: Whether already `save` fails.
    """

    model: str
    why: str
    writing: bool = False


def faults_of(models: Sequence[keras.Model]) -> list[Fault]:
    """The faults of the nested models; none if Keras can save and load them."""
    found = []
    for model in models:
        try:
            config = _keras.saved_config(model)
        except Exception as error:  # of the user's code
            why = f"`save` fails with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            found.append(Fault(model.name, why, writing=True))
        else:
            reasons = [*_unreadable(config), *left_out(model)]
            found += [Fault(model.name, why) for why in dict.fromkeys(reasons)]
    return found


def warn_of(models: Sequence[keras.Model]) -> None:
    """Warns of models that cannot be saved or loaded, before they are trained.

    Warns:
        UserWarning: If there are any.
    """
    if found := faults_of(models):
        warnings.warn(
            "A pair of these models trains, and `save_weights` and `load_weights` work, but "
            + ("`save` does not" if any(fault.writing for fault in found) else "a saved file does not load as it is")
            + f", neither for the pair nor for the model alone. {listed(found)}",
            stacklevel=3,
        )


def check_callbacks(models: Sequence[keras.Model], callbacks: Any) -> None:
    """Raises a `ValueError` if a `ModelCheckpoint` would fail at its first save, after an epoch of training."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    whole = [callback for callback in keras.tree.flatten(callbacks or []) if _saves_the_pair(callback)]
    for callback in whole:
        if not str(callback.filepath).endswith(".keras"):
            raise ValueError(NOT_HDF5.format(repr(str(callback.filepath))))
    if whole and (found := [fault for fault in faults_of(models) if fault.writing]):
        raise ValueError(
            "Argument `callbacks` must not have a `ModelCheckpoint` of the whole pair if one of its models cannot be "
            f"saved. Pass `save_weights_only=True`, or use `BackupAndRestore`. Received: {listed(found)}"
        )


def _saves_the_pair(callback: Any) -> bool:
    """Whether it saves the whole model that trains. A user's own `set_model` may give it another model."""
    stock = getattr(type(callback), "set_model", None) is keras.callbacks.ModelCheckpoint.set_model
    return isinstance(callback, keras.callbacks.ModelCheckpoint) and stock and not callback.save_weights_only


def listed(faults: Sequence[Fault]) -> str:
    """The faults in one line."""
    more = f"; and {len(faults) - 4} more" if len(faults) > 4 else ""
    return "; ".join(f"'{fault.model}': {fault.why}" for fault in faults[:4]) + more


def _unreadable(config: Any) -> Iterator[str]:
    """What Keras's loading would not accept, in sentences."""
    if isinstance(config, list):
        for value in config:
            yield from _unreadable(value)
    if not isinstance(config, dict):
        return
    if config.get("class_name") == "__lambda__":
        if not _keras.loads_lambdas():
            yield "it has a Python lambda; use a named, registered function, or load with `safe_mode=False`"
        return
    if {"class_name", "config", "module", "registered_name"} <= config.keys():
        yield from _unknown(config)
    for value in config.values():
        yield from _unreadable(value)


def _unknown(config: dict[str, Any]) -> Iterator[str]:
    """Whether a class or function is not found, or its constructor does not take its config."""
    module, inner = config["module"], config["config"]
    if config["class_name"] == "function":
        stock = any(hasattr(getattr(keras, name), str(inner)) for name in HOLD_FUNCTIONS)
        if not stock and keras.saving.get_registered_object(inner) is None:
            yield f"function `{inner}` is not registered; {REGISTER}"
        return
    cls = keras.saving.get_registered_object(config["registered_name"])
    if cls is None:
        if module and module.split(".")[0] not in LIBRARIES:
            yield f"class `{config['class_name']}` is not registered; {REGISTER}"
    elif _keras.has_stock_from_config(cls) and not {"layers", "input_layers"} <= inner.keys():  # those are of graphs
        try:
            inspect.signature(cls.__init__).bind(None, **inner)
        except TypeError as error:
            yield f"the config of `{config['class_name']}` does not fit its constructor ({error}); correct `get_config`"
