"""What several conditions use: checks of their arguments, and running means of the loss."""

import operator
from typing import Any

from keras import ops

# Means "no loss yet", or "the loss was not a finite number": no loss is below it. (NaN would work as well, but JAX
# checks that all processes write the same value into a variable, and NaN is not equal to itself.)
NO_LOSS = float("-inf")


def at_least(name: str, value: Any, least: int) -> int:
    """An argument that must be an integer of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < least:
        raise ValueError(f"Argument `{name}` must be an integer of at least {least}. Received: {name}={value!r}")
    return operator.index(value)


def number(variable: Any) -> int:
    """The value of a scalar integer variable, on the host."""
    # As a tensor first: in a strategy's scope, TensorFlow cannot convert a variable with replicas to an array.
    return int(ops.convert_to_numpy(ops.copy(variable.value)))


def share_of_one(name: str, value: Any) -> float:
    """An argument that must be a number in (0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"Argument `{name}` must be a number in (0, 1). Received: {name}={value!r}")
    return float(value)


def running_mean(mean: Any, loss: Any, weight: float) -> Any:
    """The mean after a new loss. A NaN or infinite loss does not change it."""
    new = ops.where(ops.isfinite(mean), mean + weight * (loss - mean), loss)
    return ops.where(ops.isfinite(loss), new, mean)
