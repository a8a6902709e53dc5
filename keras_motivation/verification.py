"""What follows from the probe: what is wrong is refused, what cannot be shown is said."""

import sys
import warnings
from typing import Any

from keras_motivation.block_ends import find_block_ends, status
from keras_motivation.entries import refusal
from keras_motivation.matching import layers_with_weights
from keras_motivation.probe import LEAST_VARIATION, Verdict


def verified(weights_map: Any) -> Verdict:
    """Runs the probe of a map that was found by names and shapes.

    Args:
        weights_map: The `WeightsMap`, with a batch of the user's if there is one.

    Returns:
        The `Verdict`.

    Raises:
        ValueError: If the map is wrong, or nothing can be shown.

    Warns:
        UserWarning: If new layers stand in the way, so that nesting cannot be shown.
    """
    try:
        verdict = weights_map.probe().verdict()
    except Exception as error:
        problem = f"the models do not run on {_inputs(weights_map)} ({type(error).__name__}: {_short(error)})"
        raise ValueError(_unproven(weights_map, problem)) from error
    if verdict.nested:
        return verdict
    if verdict.nesting == "unknown":
        raise ValueError(_unproven(weights_map, _why_unknown(weights_map, verdict)))
    new = _new_in_the_way(weights_map)
    if not new:
        where = f" (first those of layer '{verdict.layer}')" if verdict.layer else ""
        problem = (
            f"with the extension at zero, the outputs differ by {verdict.error:.2g} of their variation{where}, though "
            "all layers match or are only added: somewhere a widened tensor is reordered (flattened, joined, split "
            "into gates or heads), layers of the same name compute something else, or one mixes all channels (a "
            "softmax over them, a norm of its own kind). If it is the latter and you accept it, pass "
            "`weights_map=WeightsMap.infer(base, motivated, check=False)`"
        )
        raise ValueError(refusal(weights_map.base, weights_map.motivated, [problem]))
    warn(
        f"The extension of '{weights_map.base.name}' in '{weights_map.motivated.name}' cannot be silenced: with all of "
        f"it at zero, the outputs still differ by {verdict.error:.2g} of their variation. Either new layers "
        f"({', '.join(new[:4])}{', ...' if new[4:] else ''}) stand in the way of what the base computes, without a "
        "residual connection around them or with a norm after it; or the map is wrong, which cannot be told apart "
        "here. The pair trains, and its extension starts as it was built."
    )
    return verdict


def _short(error: Exception) -> str:
    """An error's text without the values of tensors, which Keras adds."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-100:]}"


def _inputs(weights_map: Any) -> str:
    return "made-up inputs" if weights_map.x is None else "the batch `x`"


def _why_unknown(weights_map: Any, verdict: Verdict) -> str:
    if verdict.variation < LEAST_VARIATION:
        return (
            f"the base's outputs vary by {verdict.variation:.1e} of their size across {_inputs(weights_map)}, which "
            "proves nothing"
        )
    if weights_map.probe().is_random():
        return "the base's outputs are random even in inference mode"
    return (
        f"the outputs differ by {verdict.error:.2g} of their variation, which may be rounding or not: these models "
        "cannot be compared layer by layer"
    )


def _unproven(weights_map: Any, problem: str) -> str:
    data = "" if weights_map.x is not None else "Pass a batch of your data: `MotivatedModel(..., x=batch)`. "
    return (
        f"The weights of '{weights_map.base.name}' map into '{weights_map.motivated.name}' by names and shapes, but "
        f"that the base is inside cannot be shown by numbers: {problem}. {data}If you know that it is, pass "
        "`weights_map=WeightsMap.infer(base, motivated, check=False)`."
    )


def _new_in_the_way(weights_map: Any) -> list[str]:
    """Names of new layers that may be the reason why the models differ: all but those whose results are only added."""
    hidden = find_block_ends(weights_map.motivated, lambda layer: status(weights_map, layer))[1]
    return [layer.name for outer in hidden for layer, _ in layers_with_weights(outer)]


def warn(message: str) -> None:
    """Warns at the line of the user's that called into this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("keras_motivation"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
