"""What it takes to run the motivated model on its own variables: weights written in, gradients and new values back.

Layers may do more with their weights than read them as tensors: write them in the forward pass, be recomputed in the
backward pass, hold a compiled function that has captured a variable. All of that works on variables only.
"""

from collections.abc import Callable
from typing import Any


def hand_on(
    weights_map: Any,
    gradients: dict[int, Any],
    split: Callable[[Any, Any], tuple[Any, Any]],
    add: Callable[[Any, Any], Any],
) -> None:
    """Hands the gradients of the motivated model's shared weights on to the variables that store them.

    Args:
        weights_map: The `WeightsMap` by which the motivated model has got its shared weights.
        gradients: Gradients, or None, by the id of a variable; those of both models, to be changed.
        split: Takes a gradient and a `Placement`; returns the part for the base, and the gradient without it.
        add: The sum of two gradients.
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
    """Writes what a forward pass has made of shared weights, batch-norm statistics say, to where they are stored.

    Args:
        shared: Entries of the weights map, each with its `Placement`.
    """
    for entry, placement in shared:
        entry.base.assign(placement.take(entry.motivated.value))
