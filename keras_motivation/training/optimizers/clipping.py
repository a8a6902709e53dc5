"""Gradient clipping by norm, for weights that are stored in several variables."""

from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.training.optimizers.parts import parts
from keras_motivation.training.sharing import Sharing


def clip_split_weights(optimizer: Any, sharing: Sharing, gradients: list[Any], variables: list[Any]) -> list[Any]:
    """Clips by the norm of whole motivated weights. An optimizer's `clipnorm` would use the norm of each piece.

    A widened weight is stored in several variables. They are clipped by their common norm, which is the norm of the
    weight in the largest model that trains. Afterwards the optimizer's own clipping changes nothing.

    Args:
        optimizer: The optimizer, perhaps in a `LossScaleOptimizer`. Without `clipnorm`, nothing happens. If the
            parts have different optimizers, in a `MultiOptimizer`, each optimizer's limit is for the common norm.
        sharing: Says which variables form a widened weight.
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
    clipped = set[int]()
    for variable in reversed(variables):  # from the largest model's
        stored_in = [positions.get(id(v)) for v in sharing.parts(variable)]
        places = [i for i in stored_in if i is not None and i not in clipped]
        if len(places) < 2 or any(gradients[i] is None for i in places):
            continue
        clipped.update(places)
        norm = ops.sqrt(sum(ops.sum(ops.square(gradients[i])) for i in places))
        for i in places:
            if limit := limits.get(id(variables[i])):
                limit = ops.cast(optimizer.scale_loss(limit), norm.dtype)
                gradients[i] = gradients[i] * ops.minimum(1.0, limit / ops.maximum(norm, keras.config.epsilon()))
    return gradients
