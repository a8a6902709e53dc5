"""Whether an optimizer trains a weight that is stored in two pieces in the same way as a whole weight."""

import itertools
import warnings
from typing import Any

from keras_motivation.nesting.weights_map import WeightsMap
from keras_motivation.training.optimizers.elementwise import acts_elementwise
from keras_motivation.training.optimizers.parts import part_of


def check_optimizer(optimizer: Any, maps: list[WeightsMap]) -> None:
    """Raises a `ValueError` if an optimizer would treat a weight differently because it is stored in pieces.

    Warns if this cannot be tested.
    """
    pieces = [
        (entry.base, entry.motivated)
        for weights_map in maps
        for entry, placement in zip(weights_map.entries, weights_map.placements)
        if not placement.whole and entry.base.trainable
    ]
    asked: list[Any] = []
    for variable in itertools.chain(*pieces):
        part = part_of(optimizer, variable)
        if not any(part is other for other in asked):
            asked.append(part)
            _check_pieces(part)


def _check_pieces(optimizer: Any) -> None:
    steps, clipnorm = optimizer.gradient_accumulation_steps, optimizer.clipnorm
    if steps and clipnorm:
        raise ValueError(
            "Argument `optimizer` must not both accumulate gradients and clip them by weight (`clipnorm`) in a pair "
            "whose motivated model is wider: a widened weight is stored in two pieces, and the accumulated gradient of "
            "each piece would be clipped separately. Use `global_clipnorm` or `clipvalue`. Received: "
            f"gradient_accumulation_steps={steps}, clipnorm={clipnorm}"
        )
    elementwise = acts_elementwise(optimizer)
    if elementwise is None:
        warnings.warn(
            f"The optimizer {type(optimizer).__name__} could not be tried on a weight that is stored in two pieces, as "
            "widened weights are. It trains them correctly if it acts on each entry of a weight by itself (as SGD and "
            "Adam do), but not if it uses the norm or shape of the weight. For this test, `get_config` and "
            "`from_config` of the optimizer must make a copy of it.",
            stacklevel=4,
        )
    elif not elementwise:
        raise ValueError(
            "Argument `optimizer` must act on each entry of a weight by itself in a pair whose motivated model is "
            f"wider: a widened weight is stored in two pieces, and {type(optimizer).__name__} uses the norm or shape "
            "of each. Use an optimizer such as SGD, Adam, AdamW, RMSprop or Lion, at least for the widened weights "
            "(with `keras.optimizers.MultiOptimizer`); or extend only the depth. Received: "
            f"optimizer={type(optimizer).__name__} '{optimizer.name}'"
        )
