"""Which layer is which in models without a graph that keep their blocks in lists (`self.blocks = [Block(), ...]`)."""

from collections.abc import Hashable
from typing import Any

from keras_motivation import _keras
from keras_motivation.nesting.matching.structure.call_graph import settings_of, weights_of

Pairs = list[tuple[Any, Any]]


def pairs_in_lists(base: Any, motivated: Any) -> tuple[Pairs, list[Any]]:
    """Pairs the layers of lists that are longer in the motivated model: the base's are the first ones.

    That is so only where it does not matter which of them are new: these must be built as the last one that the base
    has, and the others of the same classes as the base's. Layers with chosen names are left alone.

    Args:
        base: A model or composite layer of the base.
        motivated: Its partner.

    Returns:
        The pairs, and the layers of the motivated model that are new.
    """
    pairs: Pairs = []
    new: list[Any] = []
    others = _keras.layer_lists(motivated)
    for name, layers in _keras.layer_lists(base).items():
        partners = others.get(name, [])
        count = len(layers)
        numbered = all(_keras.auto_name(layer) is not None for layer in [*layers, *partners])
        alike = [type(layer) for layer in layers] == [type(partner) for partner in partners[:count]]
        further = partners[count:]
        if further and numbered and alike and len({_built_as(partner) for partner in partners[count - 1 :]}) == 1:
            pairs += zip(layers, partners)
            new += further
    return pairs, new


def _built_as(layer: Any) -> Hashable:
    """What is equal in two layers of the same code and the same sizes.

    Layers without weights are left out: the first block of a list may have no stochastic depth. What they compute is
    compared by numbers.
    """
    inside = [one for one in _keras.all_layers(layer) if weights_of(one)]
    return tuple((type(one), settings_of(one), tuple(tuple(v.shape) for v in weights_of(one))) for one in inside)
