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


def named(model: keras.Model, loss: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of `compile` by name, without the optimizer and without a loss that was left out.

    Args:
        model: The base. Positions are those of its own `compile`, and behind these Keras's.
        loss: The argument behind the optimizer.
        args: Further arguments by position.
        kwargs: Arguments by name.
    """
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [name for name, p in inspect.signature(model.compile).parameters.items() if p.kind is kind]
    own = [name for name in own if name != "optimizer"]
    stock = list(inspect.signature(keras.Model.compile).parameters)[2:]  # behind `self` and the optimizer
    names = [*own, *(name for name in stock[len(own) :] if name not in own)]
    first = {} if loss is None else {"loss" if "loss" in own else names[0]: loss}
    return first | dict(zip(names[1:], args)) | kwargs


def compile_models(models: list[keras.Model], optimizer: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Compiles the models, each by its own `compile`. A model that has an optimizer keeps it.

    Args:
        models: The nested models, the smallest first.
        optimizer: The pair's optimizer, or "auto" for a new one such as the base's `compile` makes.
        given: The other arguments for their `compile`.

    Returns:
        The optimizer for the pair, which the base's `compile` may have changed; and the arguments of
        `keras.Model.compile` that the base's own `compile` passes.

    Raises:
        ValueError: If a model's `compile` does not take these arguments.
    """
    left_out = isinstance(optimizer, str) and optimizer == LEFT_OUT
    made: list[dict[str, Any]] = []
    for model in models:
        former = getattr(model, "optimizer", None)
        arguments = dict(given)
        parameters = inspect.signature(model.compile).parameters
        if not left_out:
            arguments["optimizer"] = _copied(optimizer) if made else optimizer
        elif "optimizer" in parameters and parameters["optimizer"].default is inspect.Parameter.empty:
            arguments["optimizer"] = DEFAULT
        try:
            model.compile(**arguments)
        except TypeError as error:
            raise ValueError(
                f"The arguments of `compile` must be those of '{model.name}', whose class {type(model).__name__} has a "
                f"`compile` of its own: {', '.join(parameters)}. Received: {sorted(arguments)} ({error})"
            ) from error
        made.append(_keras.compile_arguments(model))
        if former is not None or len(made) == 1:  # the pair's optimizer is for the weights of all models
            _keras.replace_optimizer(model, keras.optimizers.get(DEFAULT) if former is None else former)
    results = {name: made[0][name] for name in RESULTS if name in made[0]}
    results["jit_compile"] = given.get("jit_compile", "auto") if made[0].get("jit_compile") else False
    if "auto_scale_loss" in given:
        results["auto_scale_loss"] = given["auto_scale_loss"]
    return made[0].get("optimizer"), results


def _copied(optimizer: Any) -> Any:
    """Another optimizer of the same settings, where these can be read: a model's `compile` may change what it gets."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    try:
        return type(optimizer).from_config(optimizer.get_config())
    except Exception:  # of a user's class
        return DEFAULT


def own_compile(models: list[keras.Model]) -> bool:
    """Whether a model has a `compile` of its own."""
    return any("compile" in overridden(model) for model in models)
