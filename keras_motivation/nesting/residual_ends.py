"""Finds where new blocks end in the graph of a functional model."""

from collections.abc import Callable
from typing import Any

from keras_motivation import _keras
from keras_motivation.nesting.matching.names import own_variables

ADDING = ("Add", "Subtract")  # layers, and operations such as `x + y`


def find_block_ends(model: Any, kind_of: Callable[[Any], str]) -> tuple[list[Any], list[Any]]:
    """Finds the last layers of new blocks: their result is all that a block adds to the base's signal.

    Args:
        model: The motivated model, or a composite layer of it.
        kind_of: Returns for a layer "new", "matched", "mixed" (composite, with parts of both) or "weightless".

    Returns:
        New layers whose result is added to the base's signal; and new layers whose end is not visible, because they are
        composite, because the base's signal passes through them, or because they are not in a functional model.
    """
    tails: list[Any] = []
    hidden: list[Any] = []
    if _keras.graph(model) is None:
        for layer in _keras.direct_sublayers(model):
            if kind_of(layer) == "new":
                hidden.append(layer)
            elif kind_of(layer) == "mixed":
                deeper = find_block_ends(layer, kind_of)
                tails, hidden = tails + deeper[0], hidden + deeper[1]
        return tails, hidden
    graph = _operations(_keras.graph(model))
    kinds = {id(op): _kind(op, kind_of) for op, _ in graph}
    carries: dict[int, bool] = {}  # whether a result has the base's signal
    consumers: dict[int, list[Any]] = {}
    for op, sources in graph:
        for source in sources:
            consumers.setdefault(id(source), []).append(op)
        inputs = [carries.get(id(source), True) for source in sources]  # a layer's second call may come first
        merges = (_adds(op) or _joins(op)) and bool(inputs)
        carries[id(op)] = kinds[id(op)] != "new" and (any(inputs) if merges else all(inputs))
    outputs = [_keras.producer(tensor) for tensor in _keras.graph(model).outputs]
    replacing = _replacing(graph, outputs, consumers, kinds)
    in_the_way: dict[int, bool] = {}
    for op, _ in reversed(graph):
        kind = kinds[id(op)]
        if kind == "new":
            fates = _fates(op, consumers, kinds, carries)
            in_the_way[id(op)] = id(op) in replacing or any(
                f is None or kinds[id(f)] in ("matched", "mixed") or in_the_way.get(id(f), False) for f in fates
            )
            if in_the_way[id(op)] or (_keras.direct_sublayers(op) and any(_adds(f) for f in fates)):
                hidden.insert(0, op)
            elif any(_adds(f) for f in fates):
                tails.insert(0, op)
        elif kind == "mixed":
            deeper = find_block_ends(op, kind_of)
            tails, hidden = deeper[0] + tails, deeper[1] + hidden
    return tails, hidden


def status(weights_map: Any, layer: Any) -> str:
    """Whether the base has all layers with weights in `layer` ("matched"), none ("new") or some ("mixed")."""
    leaves = [own for sublayer in _keras.all_layers(layer) if (own := own_variables(sublayer))]
    if not leaves:
        return "weightless"
    new = [not any(weights_map.partner(v) for v in own) for own in leaves]
    return "new" if all(new) else "mixed" if any(new) else "matched"


def _operations(graph: Any) -> list[tuple[Any, list[Any]]]:
    """Layers and operations with the producers of their inputs, over all calls."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for operation, _, _, inputs, _ in _keras.graph_calls(graph):
        found.setdefault(id(operation), (operation, []))[1].extend(_keras.producer(tensor) for tensor in inputs)
    return list(found.values())


def _kind(op: Any, kind_of: Callable[[Any], str]) -> str:
    return kind_of(op) if getattr(op, "variables", None) else "weightless"


def _fates(op: Any, consumers: dict[int, list[Any]], kinds: dict[int, str], carries: dict[int, bool]) -> list[Any]:
    """Where a new layer's result goes, through layers without weights: layers, additions, or None for an output."""
    found: list[Any] = [] if id(op) in consumers else [None]
    for consumer in consumers.get(id(op), []):
        if _joins(consumer) and carries[id(consumer)]:
            continue  # joined to the base's channels, where zero weights stop it
        if kinds[id(consumer)] != "weightless" or (_adds(consumer) and carries[id(consumer)]):
            found.append(consumer)
        else:
            found += _fates(consumer, consumers, kinds, carries)
    return found


def _replacing(
    graph: list[tuple[Any, list[Any]]], outputs: list[Any], consumers: dict[int, list[Any]], kinds: dict[int, str]
) -> set[int]:
    """New layers that a base's layer needs to reach an output: what they add takes the place of what it added."""
    sources = {id(op): producers for op, producers in graph}
    reaching: set[int] = set()  # what reaches an output without new layers
    pending = list(outputs)
    while pending:
        op = pending.pop()
        if id(op) not in reaching and kinds.get(id(op)) != "new":
            reaching.add(id(op))
            pending += sources.get(id(op), [])
    found: set[int] = set()
    pending = [op for op, _ in graph if kinds[id(op)] in ("matched", "mixed") and id(op) not in reaching]
    while pending:
        op = pending.pop()
        further = [consumer for consumer in consumers.get(id(op), []) if id(consumer) not in reaching | found]
        found |= {id(consumer) for consumer in further}
        pending += further
    return found


def _joins(op: Any) -> bool:
    return type(op).__name__ == "Concatenate"


def _adds(op: Any) -> bool:
    return type(op).__name__ in ADDING
