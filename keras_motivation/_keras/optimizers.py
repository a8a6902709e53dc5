"""Keras's optimizers: what they count, which variables they update, and with which method."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


def optimizer_steps(optimizer: Any) -> Any:
    """Variable that counts the batches whose gradients an optimizer has received.

    The public `iterations` counts updates of the weights. With `gradient_accumulation_steps` these are fewer.
    """
    return optimizer._iterations


def optimized_variables(optimizer: Any) -> list[Any]:
    """The variables that a built optimizer updates. `Optimizer.variables` are the optimizer's own state."""
    return optimizer._trainable_variables


def stock_class(optimizer: Any) -> str | None:
    """Name of an optimizer's class if it is Keras's own, else None. Under PyTorch, Keras has subclasses for itself."""
    kind = type(optimizer)
    return kind.__name__ if kind.__module__.startswith("keras.src.") else None


def optimizer_map(optimizer: Any) -> Callable[[Any], Any]:
    """The user's callable or map, from which a `MultiOptimizer` gets the optimizer of a variable."""
    return optimizer._optimizer_map


def update_steps(optimizer: Any) -> Callable[..., None]:
    """The method `(gradients, variables, learning_rate)` with which an optimizer updates several variables.

    From there, each backend has its own way to the public `update_step`; PyTorch's optimizers do not call it at all.
    """
    return type(optimizer)._backend_update_step.__get__(optimizer)


@contextlib.contextmanager
def method_replaced(optimizer: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """A context in which a method of the optimizer is replaced by `function`.

    Replicas of a `tf.distribute` strategy run this in turns, and one may leave before another. So none of them restores
    a former value. It does not use `setattr`, because there optimizers search for variables to track.
    """
    vars(optimizer)[name] = function
    try:
        yield
    finally:
        vars(optimizer).pop(name, None)


def momentum_product(optimizer: Any) -> Any:
    """Variable of `Nadam`: the product of its momenta so far."""
    return getattr(optimizer, "_u_product", None)


def portable_config(config: Any) -> Any:
    """Removes the backend from the config of an optimizer.

    Under PyTorch, Keras writes the module of its own subclass into the config (`keras.src.backend.torch.optimizers`).
    No other backend can load it. The public class of the same name works everywhere.
    """
    if isinstance(config, dict):
        config = {key: portable_config(value) for key, value in config.items()}
        if str(config.get("module", "")).startswith("keras.src.backend.torch.optimizers"):
            config["module"] = "keras.optimizers"
    return config
