"""Layers and operations that move channels: reshape, permute, join, split."""

from typing import Any

import numpy as np

from keras_motivation.nesting.channels.layouts import (
    Fused,
    Layout,
    concat,
    fused,
    resolved,
    segments_of,
    size_of,
    split,
)
from keras_motivation.nesting.channels.rules.call import Call


def reshape(call: Call, graph: Any) -> None:
    """In row-major order, from the right: axes are fused, and fused axes are split. Open axes do not change."""
    (tensor,), (output,) = call.inputs, call.outputs
    factors: list[Layout] = [graph[tensor, a] for a in range(len(tensor.shape)) if tensor.shape[a] != 1]
    axes = [a for a in range(len(output.shape)) if output.shape[a] != 1]
    while factors and axes and output.shape[axes[-1]] is not None:  # from the right
        layout = _taken(factors, output.shape[axes[-1]])
        if layout is None:
            break
        graph.set((output, axes.pop()), layout)
    while factors and axes and output.shape[axes[0]] is None and size_of(resolved(factors[0])) is None:
        if len(axes) == 1:  # the rest of the input
            graph.set((output, axes.pop()), fused(factors))
            break
        graph.set((output, axes.pop(0)), factors.pop(0))
    left = [segment for factor in factors for segment in segments_of(resolved(factor))]
    for axis in range(len(tensor.shape)):
        if not any(segment in left for segment in segments_of(resolved(graph[tensor, axis]))):
            graph.link((tensor, axis))


def _taken(factors: list[Layout], size: int) -> Layout | None:
    """Takes factors from the end of a list until they form an axis of a size. Splits the last one if necessary.

    Returns None, and leaves the list as it was, if the factors do not form such an axis.
    """
    found: list[Layout] = []
    rest = list(factors)
    while size > 1:
        if not rest:
            return None
        factor = resolved(rest.pop())
        if isinstance(factor, Fused):
            rest += factor.factors
            continue
        length = size_of(factor)
        if length is None:
            return None
        if size % length:  # the factor is larger, or does not divide the axis
            parts = split(factor, length // size, Fused) if length % size == 0 else None
            if parts is None:
                return None
            rest.append(parts[0])
            factor, length = parts[1], size
        found.insert(0, factor)
        size //= length
    factors[:] = rest
    return fused(found)


def permute(call: Call, graph: Any) -> None:
    """The layer `Permute`, which does not move the batch axis."""
    for axis, source in enumerate((0, *call.operation.dims)):
        graph.link((call.outputs[0], axis), (call.inputs[0], source))


def transpose(call: Call, graph: Any) -> None:
    """The operations `Transpose`, `Swapaxes` and `Moveaxis`: run on an array whose axes have different lengths."""
    rank, operation = len(call.inputs[0].shape), call.operation
    numbered = np.empty(tuple(range(1, rank + 1)), bool)
    if type(operation).__name__ == "Transpose":
        moved = np.transpose(numbered, operation.axes)
    elif type(operation).__name__ == "Swapaxes":
        moved = np.swapaxes(numbered, operation.axis1, operation.axis2)
    else:
        moved = np.moveaxis(numbered, operation.source, operation.destination)
    for axis, length in enumerate(moved.shape):
        graph.link((call.outputs[0], axis), (call.inputs[0], length - 1))


def concatenate(call: Call, graph: Any) -> None:
    """The segments of all inputs side by side."""
    (output,) = call.outputs
    joined = call.operation.axis % len(output.shape)
    for axis in set(range(len(output.shape))) - {joined}:
        graph.link((output, axis), *[(tensor, axis) for tensor in call.inputs])
    graph.set((output, joined), concat([graph[tensor, joined] for tensor in call.inputs]))
    for tensor in call.inputs:
        graph.link((tensor, joined))


def stack(call: Call, graph: Any) -> None:
    """A new axis. The others do not change."""
    (output,) = call.outputs
    new = call.operation.axis % len(output.shape)
    for axis in range(len(output.shape) - 1):
        graph.link((output, axis + (axis >= new)), *[(tensor, axis) for tensor in call.inputs])


def split_in_parts(call: Call, graph: Any) -> None:
    """The inverse of `concatenate`."""
    (tensor,) = call.inputs
    divided = call.operation.axis % len(tensor.shape)
    for output in call.outputs:
        for axis in set(range(len(tensor.shape))) - {divided}:
            graph.link((output, axis), (tensor, axis))
    graph.set((tensor, divided), concat([graph[output, divided] for output in call.outputs]))
    for output in call.outputs:
        graph.link((output, divided))


def get_item(call: Call, graph: Any) -> None:
    """`x[...]`: whole axes, single positions, new axes, and slices with step 1, which split their axis."""
    (tensor,), (output,) = call.inputs, call.outputs
    key = call.args[1] if len(call.args) > 1 else call.kwargs.get("key")
    entries = list(key) if isinstance(key, tuple) else [key]
    if not all(entry is None or entry is Ellipsis or isinstance(entry, int | slice) for entry in entries):
        return
    taken = sum(entry is not None and entry is not Ellipsis for entry in entries)
    rest: list[Any] = [slice(None)] * (len(tensor.shape) - taken)
    here = entries.index(Ellipsis) if Ellipsis in entries else len(entries)
    entries = [*entries[:here], *rest, *entries[here + 1 :]]
    source = position = 0
    for entry in entries:
        if isinstance(entry, slice):
            _take(graph, (tensor, source), (output, position), entry)
        source += entry is not None
        position += not isinstance(entry, int)


def _take(graph: Any, source: tuple[Any, int], target: tuple[Any, int], chosen: slice) -> None:
    """Relates an axis to a slice of it."""
    size = source[0].shape[source[1]]
    if chosen == slice(None):
        graph.link(target, source)
    elif size is not None and (chosen.step or 1) == 1:
        start, end, _ = chosen.indices(size)
        before, after = graph.new_segments(start, size - end)
        # What is cut off may be nothing in the base and something in the motivated model.
        parts = [before] * (chosen.start is not None) + [graph[target]] + [after] * (chosen.stop is not None)
        graph.set(source, concat(parts))
        graph.link(target)
