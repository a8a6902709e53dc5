"""One call of a layer or operation, and functions that several rules use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_motivation.nesting.matching.names import own_variables


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation in a functional graph.

    Attributes:
        operation: The layer or Keras operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        inputs: The symbolic tensors among the arguments.
        outputs: The symbolic results.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Any]
    outputs: list[Any]


Rule = Callable[[Call, Any], None]
WeightsRule = Callable[[Any, Any], None]


def described(operation: Any) -> str:
    """A layer or operation in words, for errors."""
    kind = "layer" if isinstance(operation, keras.Layer) else "operation"
    return f"{kind} '{operation.name}' ({type(operation).__name__})"


def weights_of(layer: Any) -> dict[str, Any]:
    """A layer's own weights by name."""
    return {variable.name: variable for variable in own_variables(layer)}


def bias_of(weights: dict[str, Any], axis: int = -1) -> list[tuple[Any, int]]:
    """The axis of the bias, if there is one."""
    return [(weights["bias"], axis)] if "bias" in weights else []


def channel_axis(call: Call) -> int:
    """The channel axis of a layer's tensors."""
    return 1 if getattr(call.operation, "data_format", None) == "channels_first" else -1


def broadcast(tensor: Any, output: Any, graph: Any) -> None:
    """The axes of the tensor are those of the output, counted from the right, as in numpy."""
    for axis in range(-len(tensor.shape), 0):
        if tensor.shape[axis] != 1 or output.shape[axis] == 1:
            graph.link((output, axis), (tensor, axis))
