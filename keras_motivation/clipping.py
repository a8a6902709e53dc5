"""Gradient clipping by norm, for weights that are stored in two variables."""

from typing import Any

import keras
from keras import ops

from keras_motivation.weights_map import WeightsMap


def clip_split_weights(
    optimizer: Any, weights_map: WeightsMap, gradients: list[Any], variables: list[Any]
) -> list[Any]:
    """Clips by the norm of whole motivated weights, where an optimizer's `clipnorm` would see only the pieces.

    A widened weight is stored in two variables. Clipping both by their common norm is what clipping the motivated
    weight does; the optimizer's own clipping then finds nothing left to do.

    Args:
        optimizer: The optimizer, perhaps in a `LossScaleOptimizer`. Without `clipnorm`, nothing happens.
        weights_map: Says which two variables make up a widened weight.
        gradients: Gradients of `variables`, still multiplied by the optimizer's loss scale; `None` is left alone.
        variables: The variables that the batch updates.

    Returns:
        The gradients in the same order.
    """
    clipnorm = getattr(getattr(optimizer, "inner_optimizer", optimizer), "clipnorm", None)
    if not clipnorm:
        return gradients
    limit = optimizer.scale_loss(clipnorm)
    positions = {id(variable): i for i, variable in enumerate(variables)}
    gradients = list(gradients)
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        pair = [i for v in (entry.base, entry.motivated) if (i := positions.get(id(v))) is not None]
        if placement.whole or len(pair) < 2 or any(gradients[i] is None for i in pair):
            continue
        norm = ops.sqrt(sum(ops.sum(ops.square(gradients[i])) for i in pair))
        scale = ops.minimum(1.0, ops.cast(limit, norm.dtype) / ops.maximum(norm, keras.config.epsilon()))
        for i in pair:
            gradients[i] = gradients[i] * scale
    return gradients
