"""Compiles nested models whose class has a `compile` of its own, as their author does.

KerasHub's tasks know their loss and metrics, KerasCV's detectors take a loss for boxes and one for classes. The pair
passes the user's arguments on, and trains with what this results in.
"""

import inspect
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.training.checks.hooks import overridden

DEFAULT = "rmsprop"  # of Keras
LEFT_OUT = "auto"  # the value of an argument that the user leaves to the model
RESULTS = ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly", "steps_per_execution")


def named(loss: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of `compile` by name, without the optimizer and without a loss that was left out."""
    names = list(inspect.signature(keras.Model.compile).parameters)[3:]  # behind `self`, optimizer and loss
    return ({} if loss is None else {"loss": loss}) | dict(zip(names, args)) | kwargs


def compile_models(models: list[keras.Model], optimizer: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Compiles the models, each by its own `compile`. A model that has an optimizer keeps it.

    Args:
        models: The nested models, the smallest first.
        optimizer: The pair's optimizer, or "auto" for a new one such as the base's `compile` makes.
        given: The other arguments for their `compile`.

    Returns:
        The optimizer for the pair, and the arguments of `keras.Model.compile` that the base's own `compile` passes.

    Raises:
        ValueError: If a model's `compile` does not take these arguments.
    """
    left_out = isinstance(optimizer, str) and optimizer == LEFT_OUT
    for model in models:
        parameters = inspect.signature(model.compile).parameters
        arguments = dict(given)
        if not left_out:  # the pair's optimizer is for the weights of all models
            own = getattr(model, "optimizer", None)
            arguments["optimizer"] = DEFAULT if own is None else own
        elif "optimizer" in parameters and parameters["optimizer"].default is inspect.Parameter.empty:
            arguments["optimizer"] = DEFAULT
        try:
            model.compile(**arguments)
        except TypeError as error:
            raise ValueError(
                f"The arguments of `compile` must be those of '{model.name}', whose class {type(model).__name__} has a "
                f"`compile` of its own: {', '.join(parameters)}. Received: {sorted(arguments)} ({error})"
            ) from error
    found = _keras.compile_arguments(models[0])
    results = {name: found[name] for name in RESULTS if name in found}
    results["jit_compile"] = given.get("jit_compile", "auto") if found.get("jit_compile") else False
    if "auto_scale_loss" in given:
        results["auto_scale_loss"] = given["auto_scale_loss"]
    made: Any = found.get("optimizer")
    return type(made).from_config(made.get_config()) if left_out else optimizer, results


def own_compile(models: list[keras.Model]) -> bool:
    """Whether a model has a `compile` of its own."""
    return any("compile" in overridden(model) for model in models)
