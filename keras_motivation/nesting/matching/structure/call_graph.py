"""A functional graph as numbered tensors and calls between them, with what must agree for two calls to correspond."""

import re
from collections.abc import Hashable, Set
from dataclasses import dataclass
from typing import Any

import keras

from keras_motivation import _keras

# Attributes of layers and operations that make another function of the same weights. Sizes are not among them: they may
# grow, or `nesting` tells why they may not (heads, groups, patches).
SETTINGS = (
    *("kernel_size", "strides", "dilation_rate", "depth_multiplier", "padding", "data_format", "pool_size"),
    *("activation", "recurrent_activation", "return_sequences", "go_backwards", "merge_mode"),
    *("axis", "axes", "dims", "keepdims", "equation", "subscripts", "approximate"),
)
# Without effect in inference. Some builders leave them out where their rate is zero.
WITHOUT_EFFECT = (
    *(keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise, keras.layers.AlphaDropout),
    *(keras.layers.ActivityRegularization, keras.layers.Identity),
)


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation.

    Attributes:
        operation: The layer or operation.
        inputs: Numbers of the tensors that it takes.
        outputs: Numbers of those that it makes.
        kind: Its class, the layers inside it, and how its weights are called; equal in calls that correspond.
        settings: What it was told, without sizes, by name; equal in calls that correspond.
        weights: The shapes of its weights, at any depth.
        name: The name that a user chose for a layer with weights, without numbers; "" for any other.
    """

    operation: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kind: Hashable
    settings: tuple[tuple[str, Hashable], ...]
    weights: tuple[tuple[int, ...], ...]
    name: str

    def does_as(self, other: "Call") -> bool:
        """Whether both compute the same function, if their weights and inputs are of the same sizes."""
        return self.kind == other.kind and self.settings == other.settings


class CallGraph:
    """The calls of a functional graph. A tensor is a number; it is larger than those of all tensors it is made from.

    Args:
        graph: A functional graph, as `_keras.graph` returns it.

    Attributes:
        calls: The calls, producers before consumers, without layers that have no effect in inference.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        shapes: The shape of each tensor.
        made_by: For each tensor the position of its call in `calls`, or `None`.
        read_by: For each tensor the positions of the calls that take it.
        made_from: For each tensor, as bits: those that it is made from, directly or not.
    """

    def __init__(self, graph: Any) -> None:
        self.calls: list[Call] = []
        self.shapes: list[tuple[int | None, ...]] = []
        self.made_by: list[int | None] = []
        self.read_by: list[set[int]] = []
        self._numbers: dict[int, int] = {}
        self.inputs = [self._number(tensor) for tensor in graph.inputs]
        for operation, _, kwargs, inputs, outputs in _keras.graph_calls(graph):
            taken = tuple(self._number(tensor) for tensor in inputs)
            if isinstance(operation, WITHOUT_EFFECT) and len(taken) == len(outputs) == 1:
                self._numbers[id(outputs[0])] = taken[0]
                continue
            position = len(self.calls)
            made = tuple(self._number(tensor, position) for tensor in outputs)
            for tensor in taken:
                self.read_by[tensor].add(position)
            self.calls.append(_call(operation, kwargs, taken, made))
        self.outputs = [self._number(tensor) for tensor in graph.outputs]
        self.made_from: list[int] = []
        for tensor in range(len(self.shapes)):
            call, bits = self.maker(tensor), 0
            for other in call.inputs if call is not None else ():
                bits |= self.made_from[other] | 1 << other
            self.made_from.append(bits)

    def maker(self, tensor: int) -> Call | None:
        """The call that makes a tensor, or `None` if it is an input."""
        position = self.made_by[tensor]
        return None if position is None else self.calls[position]

    def is_used_by(self, positions: Set[int], position: int, but: int | None = None) -> bool:
        """Whether what a call makes is used by some calls alone, not counting one tensor. An output is used outside."""
        made = set(self.calls[position].outputs) - {but}
        return all(self.read_by[t] <= positions for t in made) and made.isdisjoint(self.outputs)

    def _number(self, tensor: Any, made_by: int | None = None) -> int:
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.shapes)
            self.shapes.append(tuple(tensor.shape))
            self.made_by.append(made_by)
            self.read_by.append(set())
        return self._numbers[id(tensor)]


def weights_of(operation: Any) -> list[Any]:
    """The weights of a layer, at any depth; an operation has none."""
    return [variable for variable in getattr(operation, "variables", []) if not _keras.is_seed(variable)]


def settings_of(operation: Any) -> tuple[tuple[str, Hashable], ...]:
    """What a layer or operation was told when it was made, without sizes, by name."""
    return tuple((name, _plain(getattr(operation, name))) for name in SETTINGS if hasattr(operation, name))


def _call(operation: Any, kwargs: dict[str, Any], inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Call:
    told = tuple((name, value) for name, value in sorted(kwargs.items()) if isinstance(value, bool | str))
    weights = tuple(tuple(variable.shape) for variable in weights_of(operation))
    name = re.sub(r"\d+", "", operation.name) if weights and _keras.auto_name(operation) is None else ""
    return Call(operation, inputs, outputs, _kind(operation), settings_of(operation) + told, weights, name)


def _kind(operation: Any) -> Hashable:
    if not isinstance(operation, keras.Layer):
        return type(operation).__name__
    if not _keras.direct_sublayers(operation):
        return type(operation), tuple((re.sub(r"\d+", "", v.name), len(v.shape)) for v in weights_of(operation))
    # A class of the user's says what its layers do; a model, or a wrapper of Keras's, is what is in it.
    own = not isinstance(operation, keras.Model) and not type(operation).__module__.startswith("keras.")
    inside = [] if own else [layer for layer in _keras.all_layers(operation)[1:] if weights_of(layer)]
    return type(operation), frozenset(type(layer) for layer in inside)


def _plain(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__name__", type(value).__name__)
