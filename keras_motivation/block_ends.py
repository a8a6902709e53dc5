"""Where new blocks end: followed in the graph of a functional model."""

from collections.abc import Callable
from typing import Any

from keras_motivation import _keras
from keras_motivation.matching import own_variables

ADDING = ("Add", "Subtract")  # layers, and operations such as `x + y`


def find_block_ends(model: Any, kind_of: Callable[[Any], str]) -> tuple[list[Any], list[Any]]:
    """Finds the layers whose result is all that new blocks add to what the base computes.

    Args:
        model: The motivated model, or a composite layer of it.
        kind_of: Tells of a layer whether it is "new", "matched", "mixed" (composite, with parts of both) or
            "weightless".

    Returns:
        New layers whose result is added to what the base computes; and new layers of which the end cannot be seen,
        because they are composite, stand in the way of the base's signal, or are inside something that is no functional
        model.
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
    """Layers and operations with those that they take their inputs from; those of all calls together."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for operation, _, _, inputs, _ in _keras.graph_calls(graph):
        found.setdefault(id(operation), (operation, []))[1].extend(_keras.producer(tensor) for tensor in inputs)
    return list(found.values())


def _kind(op: Any, kind_of: Callable[[Any], str]) -> str:
    return kind_of(op) if getattr(op, "variables", None) else "weightless"


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
