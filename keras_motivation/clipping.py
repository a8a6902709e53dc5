"""Gradient clipping by norm, for weights that are stored in two variables."""

from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.optimizer_parts import parts
from keras_motivation.weights_map import WeightsMap


def clip_split_weights(
    optimizer: Any, weights_map: WeightsMap, gradients: list[Any], variables: list[Any]
) -> list[Any]:
    """Clips by the norm of whole motivated weights, where an optimizer's `clipnorm` would see only the pieces.

    A widened weight is stored in two variables. Clipping both by their common norm is what clipping the motivated
    weight does; the optimizer's own clipping then finds nothing left to do.

    Args:
        optimizer: The optimizer, perhaps in a `LossScaleOptimizer`. Without `clipnorm`, nothing happens. Where the
            pieces have optimizers of their own, in a `MultiOptimizer`, each has its limit for the norm of both.
        weights_map: Says which two variables make up a widened weight.
        gradients: Gradients of `variables`, still multiplied by the optimizer's loss scale; `None` is left alone.
        variables: The variables that the batch updates.

    Returns:
        The gradients in the same order.
    """
    clipping = [part for part in parts(optimizer) if part.clipnorm]
    if not clipping:
        return gradients
    limits = {id(v): part.clipnorm for part in clipping for v in _keras.optimized_variables(part)}
    positions = {id(variable): i for i, variable in enumerate(variables)}
    gradients = list(gradients)
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        pair = [i for v in (entry.base, entry.motivated) if (i := positions.get(id(v))) is not None]
        if placement.whole or len(pair) < 2 or any(gradients[i] is None for i in pair):
            continue
        norm = ops.sqrt(sum(ops.sum(ops.square(gradients[i])) for i in pair))
        for i in pair:
            if limit := limits.get(id(variables[i])):
                limit = ops.cast(optimizer.scale_loss(limit), norm.dtype)
                gradients[i] = gradients[i] * ops.minimum(1.0, limit / ops.maximum(norm, keras.config.epsilon()))
    return gradients
