"""What goes past a tensor of a graph: without it, most of what cannot be a repeated block would be walked in vain."""

from keras_motivation.nesting.matching.structure.call_graph import Call, CallGraph


def calls_past(graph: CallGraph) -> list[int]:
    """For each tensor, as bits: what cannot be in a repeated block that starts with it.

    A call goes past a tensor if it takes something that the tensor is made from, and the tensor is not made from the
    call. In a repeated block, that something must come from outside: a call that does the same must take it in the
    block before, too, at the same place. Where there is none, what the call makes is in no such block.

    Args:
        graph: The `CallGraph`.
    """
    past: list[int] = []
    reading: list[set[int]] = []  # for each tensor, those that it is made from and that are read past it
    for tensor in range(len(graph.shapes)):
        call, inside = graph.maker(tensor), graph.made_from[tensor] | 1 << tensor
        found, bits = set(), 0
        for other in set().union(*({t} | reading[t] for t in call.inputs)) if call is not None else ():
            readers = [graph.calls[position] for position in graph.read_by[other]]
            beside: list[Call] = []
            before: list[Call] = []
            for reader in readers:
                (before if any(inside >> made & 1 for made in reader.outputs) else beside).append(reader)
            if beside:
                found.add(other)
                known = {key for reader in before for key in _takes(reader, other)}
                for reader in beside:
                    if not _takes(reader, other) <= known:
                        bits |= sum(1 << made for made in reader.outputs)
        reading.append(found)
        past.append(bits)
    return past


def _takes(call: Call, tensor: int) -> set[object]:
    """What a call does, and at which places it takes a tensor."""
    return {(call.kind, call.settings, call.name, place) for place, taken in enumerate(call.inputs) if taken == tensor}
