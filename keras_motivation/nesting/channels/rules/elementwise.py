"""Layers and operations that do not move channels: activations, sums, pooling, reductions, norms."""

from typing import Any

import keras
import numpy as np

from keras_motivation.nesting.channels.layouts import fused
from keras_motivation.nesting.channels.rules.call import Call, broadcast, channel_axis, weights_of
from keras_motivation.nesting.matching.names import own_variables


def per_element(call: Call, graph: Any) -> None:
    """Every input has the axes of the output, or is broadcast to them."""
    for tensor in call.inputs:
        broadcast(tensor, call.outputs[0], graph)


def merge(call: Call, graph: Any) -> None:
    """Keras's merging layers broadcast in another way if the ranks differ. Such a call stays closed."""
    if len({len(tensor.shape) for tensor in call.inputs}) == 1:
        per_element(call, graph)


def arithmetic(call: Call, graph: Any) -> None:
    """A constant that is not a scalar has a value for each channel, in an order that no weights map knows."""
    arguments = [*call.args, *call.kwargs.values()]
    weights = [a for a in arguments if isinstance(a, keras.Variable)]
    constants = [a for a in arguments if not isinstance(a, keras.KerasTensor | keras.Variable)]
    if all(a is None or isinstance(a, str) or np.shape(a) == () for a in constants):
        per_element(call, graph)
        for weight in weights:
            broadcast(weight, call.outputs[0], graph)


def rescaling(call: Call, graph: Any) -> None:
    """One scale and offset for all channels."""
    if np.ndim(call.operation.scale) == np.ndim(call.operation.offset) == 0:
        per_element(call, graph)


def spatial(call: Call, graph: Any) -> None:
    """Pooling, padding and similar layers keep the channel axis and change the others."""
    graph.link((call.outputs[0], channel_axis(call)), (call.inputs[0], channel_axis(call)))


def reduction(call: Call, graph: Any) -> None:
    """A sum or mean keeps the axes over which it does not run."""
    (tensor,), (output,) = call.inputs, call.outputs
    rank = len(tensor.shape)
    axis = range(rank) if call.operation.axis is None else np.atleast_1d(call.operation.axis)
    kept = [a for a in range(rank) if a not in {int(b) % rank for b in axis}]
    for position, a in enumerate(kept):
        graph.link((output, a if call.operation.keepdims else position), (tensor, a))


def normalization(call: Call, graph: Any) -> None:
    """Weights with one entry for each position on `axis`."""
    broadcast(call.inputs[0], call.outputs[0], graph)  # the second input may be a mask
    axes = [int(axis) for axis in np.atleast_1d(call.operation.axis)]
    for variable in own_variables(call.operation):
        for position, axis in enumerate(axes):
            graph.link((call.inputs[0], axis), (variable, position))


def group_normalization(call: Call, graph: Any) -> None:
    """Neighbouring channels are normalised together: the axis is groups times channels of a group."""
    layer = call.operation
    size = call.inputs[0].shape[layer.axis]
    normalization(call, graph)
    if layer.groups not in (1, size):
        group, together = graph.new_segments(layer.groups, size // layer.groups)
        graph.set((call.inputs[0], layer.axis), fused([group, together]))
        graph.keep_whole(together)


def prelu(call: Call, graph: Any) -> None:
    """There is a slope for each position of the axes that are not shared."""
    per_element(call, graph)
    (alpha,) = weights_of(call.operation).values()
    for axis in range(1, len(call.inputs[0].shape)):
        if axis not in (call.operation.shared_axes or ()):
            graph.link((call.inputs[0], axis), (alpha, axis - 1))
