"""Where new blocks end: followed in the graph of a functional model."""

from collections.abc import Callable
from typing import Any

import keras

from keras_motivation import _keras

ADDING = ("Add", "Subtract")  # layers, and operations such as `x + y`


def find_block_ends(model: Any, status: Callable[[Any], str]) -> tuple[list[Any], list[Any], list[Any]]:
    """Finds the layers whose result is all that new blocks add to what the base computes.

    Args:
        model: The motivated model, or a composite layer of it.
        status: For a layer "new", "matched", "mixed" (composite, with matched and new parts) or "weightless".

    Returns:
        New layers whose result is added to what the base computes; those of them behind which a ReLU would stop all
        gradients at zero; and new layers of which the end cannot be seen, because they are composite, stand in the way
        of the base's signal, or are inside something that is no functional model.
    """
    tails: list[Any] = []
    stopped: list[Any] = []
    hidden: list[Any] = []
    if _keras.graph(model) is None:
        for layer in _keras.direct_sublayers(model):
            if status(layer) == "new":
                hidden.append(layer)
            elif status(layer) == "mixed":
                for found, deeper in zip((tails, stopped, hidden), find_block_ends(layer, status)):
                    found += deeper
        return tails, stopped, hidden
    graph = _operations(_keras.graph(model))
    kinds = {id(op): _kind(op, status) for op, _ in graph}
    carries: dict[int, bool] = {}  # whether a result holds what the base computes
    consumers: dict[int, list[Any]] = {}
    for op, sources in graph:
        for source in sources:
            consumers.setdefault(id(source), []).append(op)
        inputs = [carries.get(id(source), True) for source in sources]  # a second call may come first
        carries[id(op)] = kinds[id(op)] != "new" and (any(inputs) if _adds(op) and inputs else all(inputs))
    in_the_way: dict[int, bool] = {}
    for op, _ in reversed(graph):
        kind = kinds[id(op)]
        if kind == "new":
            fates = _fates(op, consumers, kinds, carries)
            in_the_way[id(op)] = any(
                f is None or kinds[id(f)] in ("matched", "mixed") or in_the_way.get(id(f), False) for f in fates
            )
            if in_the_way[id(op)] or (_keras.direct_sublayers(op) and any(_adds(f) for f in fates)):
                hidden.insert(0, op)
            elif any(_adds(f) for f in fates):
                tails.insert(0, op)
                if stops_at_zero(op) or _meets_relu(op, consumers, kinds):
                    stopped.append(op)
        elif kind == "mixed":
            for found, deeper in zip((tails, stopped, hidden), find_block_ends(op, status)):
                found[:0] = deeper
    return tails, stopped, hidden


def stops_at_zero(op: Any) -> bool:
    """Whether an operation is, or ends in, a ReLU: zero gradient where its input is zero."""
    if type(op).__name__ in ("ReLU", "Relu", "Relu6"):
        return not getattr(op, "negative_slope", 0)
    return getattr(op, "activation", None) in (keras.activations.relu, keras.activations.relu6)


def _meets_relu(op: Any, consumers: dict[int, list[Any]], kinds: dict[int, str]) -> bool:
    """Whether a result passes a ReLU before it is added to something."""
    ahead = [c for c in consumers.get(id(op), []) if kinds[id(c)] == "weightless" and not _adds(c)]
    return any(stops_at_zero(c) or _meets_relu(c, consumers, kinds) for c in ahead)


def _operations(graph: Any) -> list[tuple[Any, list[Any]]]:
    """Layers and operations with those that they take their inputs from; those of all calls together."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for operation, _, _, inputs, _ in _keras.graph_calls(graph):
        found.setdefault(id(operation), (operation, []))[1].extend(_keras.producer(tensor) for tensor in inputs)
    return list(found.values())


def _kind(op: Any, status: Callable[[Any], str]) -> str:
    return status(op) if getattr(op, "variables", None) else "weightless"


def _fates(op: Any, consumers: dict[int, list[Any]], kinds: dict[int, str], carries: dict[int, bool]) -> list[Any]:
    """Where a new layer's result goes, past what has no weights: layers, additions to the base's; None: an output."""
    found: list[Any] = [] if id(op) in consumers else [None]
    for consumer in consumers.get(id(op), []):
        if kinds[id(consumer)] != "weightless" or (_adds(consumer) and carries[id(consumer)]):
            found.append(consumer)
        else:
            found += _fates(consumer, consumers, kinds, carries)
    return found


def _adds(op: Any) -> bool:
    return type(op).__name__ in ADDING
