"""What follows from the probe: what is wrong is refused, what cannot be shown is said."""

import warnings
from typing import Any

from keras_motivation.entries import refusal
from keras_motivation.matching import layers_with_weights
from keras_motivation.probe import Verdict


def verified(weights_map: Any) -> Verdict | None:
    """Runs the probe; refuses what it shows to be wrong, warns of what it cannot show."""
    pair = f"'{weights_map.base.name}' in '{weights_map.motivated.name}'"
    try:
        verdict = weights_map.verify()
    except Exception as error:
        warnings.warn(
            f"Nesting of {pair} was checked by names and shapes only, since the models do not run on made-up inputs "
            f"({type(error).__name__}: {error}). Call `verify` of the weights map with a batch of your data.",
            stacklevel=4,
        )
        return None
    if verdict.nested:
        return verdict
    new = [
        layer.name
        for layer, own in layers_with_weights(weights_map.motivated)
        if not any(map(weights_map.partner, own))
    ]
    if verdict.nesting == "unknown":
        warnings.warn(
            f"Nesting of {pair} was checked by names and shapes only: the base's outputs vary by "
            f"{verdict.variation:.1e} of their size across made-up inputs, which proves nothing. Call `verify` of the "
            "weights map with a batch of your data.",
            stacklevel=4,
        )
    elif new:
        warnings.warn(
            f"The extension of {pair} cannot be silenced: with all of it at zero, the outputs still differ by "
            f"{verdict.error:.0%} of their variation. New layers ({', '.join(new[:4])}{', ...' if new[4:] else ''}) "
            "stand in the way of what the base computes, without a residual connection around them or with a norm "
            "after it. The pair trains, its extension starts as it was built, and nesting was checked by names and "
            "shapes only.",
            stacklevel=4,
        )
    else:
        problem = (
            f"with the extension at zero, the outputs differ by {verdict.error:.0%} of their variation, though all "
            "layers match: somewhere a widened tensor is reordered (flattened, joined, split into gates or heads), or "
            "a layer mixes all channels (a softmax over them, a norm of its own kind). If it is the latter and you "
            "accept it, pass `weights_map=WeightsMap.infer(base, motivated, check=False)`"
        )
        raise ValueError(refusal(weights_map.base, weights_map.motivated, [problem]))
    return verdict
