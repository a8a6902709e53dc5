"""Gradient clipping by norm, for weights that are stored in two variables."""

from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.weights_map import WeightsMap
from keras_motivation.training.optimizers.parts import parts


def clip_split_weights(
    optimizer: Any, weights_map: WeightsMap, gradients: list[Any], variables: list[Any]
) -> list[Any]:
    """Clips by the norm of whole motivated weights. An optimizer's `clipnorm` would use the norm of each piece.

    A widened weight is stored in two variables. Both are clipped by their common norm, which is the norm of the
    motivated weight. Afterwards the optimizer's own clipping changes nothing.

    Args:
        optimizer: The optimizer, perhaps in a `LossScaleOptimizer`. Without `clipnorm`, nothing happens. If the two
            pieces have different optimizers, in a `MultiOptimizer`, each optimizer's limit is for the common norm.
        weights_map: Says which two variables form a widened weight.
        gradients: Gradients of `variables`, still multiplied by the optimizer's loss scale. `None` stays `None`.
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
