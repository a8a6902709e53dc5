"""Which layer is which among those that Keras numbered (`conv2d_5`): such names say nothing across two models."""

from typing import Any

from keras_motivation import _keras
from keras_motivation.nesting.matching.lists import pairs_in_lists
from keras_motivation.nesting.matching.structure.pairs import pairs_by_structure

Pairs = list[tuple[Any, Any]]
Kinds = dict[str, list[Any]]


def pair_numbered(
    base: Any, motivated: Any, ours: Kinds, theirs: Kinds, known: Pairs | None
) -> tuple[Pairs, list[str]]:
    """Pairs the numbered sublayers of two layers or models.

    By their rank, where both have equally many of each kind: then they were built by the same code. Else by the graphs,
    and where there are none by the lists that hold them.

    Args:
        base: A model or composite layer of the base.
        motivated: Its partner.
        ours: The base's numbered sublayers with weights by kind (`conv2d`), in order.
        theirs: The motivated model's.
        known: The pairs of sublayers with chosen names; `None` if there are some without partner.

    Returns:
        The pairs, and a list of problems: one sentence for each kind that is left open, and why the graphs do not tell.
    """
    uneven = {kind for kind, layers in ours.items() if len(layers) != len(theirs.get(kind, []))}
    if not uneven:
        return _by_rank(ours, theirs), []
    reasons: list[str] = []
    graphs = _keras.graph(base), _keras.graph(motivated)
    if graphs[0] is not None and graphs[1] is not None and known is not None:
        found, reasons = pairs_by_structure(*graphs, known)
        if not reasons:
            settled = {id(layer) for layer, _ in known}
            return [pair for pair in found if id(pair[0]) not in settled], []
    elif graphs == (None, None):
        found, new = pairs_in_lists(base, motivated)
        left = _without(ours, [layer for layer, _ in found])
        partners = _without(theirs, [*(partner for _, partner in found), *new])
        if all(len(layers) == len(partners.get(kind, [])) for kind, layers in left.items()):
            return found + _by_rank(left, partners), []
    problems = [_open(kind, ours[kind], theirs.get(kind, [])) for kind in ours if kind in uneven]
    even = {kind: layers for kind, layers in ours.items() if kind not in uneven}
    return _by_rank(even, theirs), problems + reasons


def _by_rank(ours: Kinds, theirs: Kinds) -> Pairs:
    return [pair for kind, layers in ours.items() for pair in zip(layers, theirs[kind])]


def _without(kinds: Kinds, layers: list[Any]) -> Kinds:
    gone = {id(layer) for layer in layers}
    return {kind: [layer for layer in found if id(layer) not in gone] for kind, found in kinds.items()}


def _open(kind: str, layers: list[Any], partners: list[Any]) -> str:
    return (
        f"{len(layers)} unnamed {type(layers[0]).__name__} layers ({some(layers)}) against {len(partners)} in the "
        f"motivated model ({some(partners)}): which of them correspond cannot be known. Names like '{kind}_3' count as "
        "unnamed, for Keras gives them itself"
    )


def some(layers: list[Any]) -> str:
    """The names of some layers."""
    names = [layer.name for layer in layers]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "none"
