"""Blocks of a graph whose result is added to what they take: without them, that would go on as it is."""

import heapq

from keras_motivation.nesting.matching.structure.call_graph import Call, CallGraph

Way = dict[int, int]  # positions of calls, and which of their inputs is on the way


def ways_past(graph: CallGraph, end: int) -> dict[int, Way]:
    """Where a residual block may start that ends with a tensor.

    Args:
        graph: The `CallGraph`.
        end: The tensor.

    Returns:
        Tensors of its shape to which something is added to make it, each with the way from it to the end. There may be
        a ReLU on the way, which leaves what a ReLU made as it is. None is made from what is added after it, which would
        be needed without the block, too.
    """
    found: dict[int, Way] = {}
    pending: list[tuple[int, Way, int]] = [(end, {}, 0)]
    while pending:
        tensor, way, added = pending.pop()
        position = graph.made_by[tensor]
        if position is None or not (_adds(graph.calls[position]) or _is_relu(graph.calls[position])):
            continue
        inputs = graph.calls[position].inputs
        for other in inputs:
            if graph.shapes[other] == graph.shapes[end] and other not in found:
                longer = way | {position: other}
                beside = added | sum(1 << tensor for tensor in set(inputs) - {other})  # as bits
                pending.append((other, longer, beside))
                if _adds(graph.calls[position]) and not graph.made_from[other] & beside:
                    found[other] = longer
    return found


def is_residual(graph: CallGraph, start: int, way: Way) -> bool:
    """Whether all that is added on the way from `start` to the end of a block is the block's own, and has weights."""
    end = max(way)
    inside: set[int] = set()
    pending = [-end]
    while pending:  # consumers before producers
        position = -heapq.heappop(pending)
        if position in inside or not (position == end or graph.is_used_by(inside, position)):
            continue
        inside.add(position)
        makers = [graph.made_by[tensor] for tensor in graph.calls[position].inputs if tensor != start]
        for maker in makers:
            if maker is not None:
                heapq.heappush(pending, -maker)
    weighted: set[int | None] = set()
    for position in sorted(inside):
        call = graph.calls[position]
        if call.weights or any(graph.made_by[tensor] in weighted for tensor in call.inputs):
            weighted.add(position)
    added: list[int] = []
    for position, tensor in way.items():
        added += graph.calls[position].inputs
        added.remove(tensor)
    return way.keys() <= inside and all(graph.made_by[tensor] in weighted for tensor in added)


def _adds(call: Call) -> bool:
    return type(call.operation).__name__ == "Add"  # a layer, and the operation of `x + y`


def _is_relu(call: Call) -> bool:
    names = type(call.operation).__name__.lower(), getattr(getattr(call.operation, "activation", None), "__name__", "")
    return "relu" in names and not call.weights
