"""Runs the motivated model on its own variables: passes gradients and new values back to the base's variables.

Layers may do more with their weights than read them as tensors. They may write them in the forward pass, be recomputed
in the backward pass, or hold a compiled function that has captured a variable. All of this needs real variables.
"""

from collections.abc import Callable
from typing import Any


def hand_on(
    weights_map: Any,
    gradients: dict[int, Any],
    split: Callable[[Any, Any], tuple[Any, Any]],
    add: Callable[[Any, Any], Any],
) -> None:
    """Passes the gradients of the motivated model's shared weights to the variables that store these weights.

    Args:
        weights_map: The `WeightsMap` with which the shared weights were written into the motivated model.
        gradients: Gradients, or None, of both models, by the id of the variable. They are changed in place.
        split: Takes a gradient and a `Placement`. Returns the part for the base, and the gradient without this part.
        add: Returns the sum of two gradients.
    """
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        gradient = gradients.get(id(entry.motivated))
        if gradient is None:
            continue
        inner, rest = (gradient, None) if placement.whole else split(gradient, placement)
        own = gradients.get(id(entry.base))
        gradients[id(entry.base)] = inner if own is None else add(own, inner)
        gradients[id(entry.motivated)] = rest


def carry_back(shared: list[tuple[Any, Any]]) -> None:
    """Copies shared weights that a forward pass has changed, such as batch-norm statistics, to the base's variables.

    Args:
        shared: Entries of the weights map, each with its `Placement`.
    """
    for entry, placement in shared:
        entry.base.assign(placement.take(entry.motivated.value))
