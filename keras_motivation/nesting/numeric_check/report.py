"""The result of the probe, and what follows from it: wrong maps are refused, and so are maps without proof."""

import sys
import warnings
from dataclasses import dataclass
from typing import Any

from keras_motivation.nesting.entry import refusal
from keras_motivation.nesting.matching.names import layers_with_weights
from keras_motivation.nesting.numeric_check.layer_by_layer import LEAST_VARIATION
from keras_motivation.nesting.residual_ends import find_block_ends, status


@dataclass(frozen=True)
class Verdict:
    """The result of a probe.

    Attributes:
        nesting: "exact"; "up to layer norm" (exact if every layer norm over a widened axis uses only the base's
            channels); "differs"; or "unknown" (nothing is proven: the base's outputs hardly vary or are random, or the
            layers of the models cannot be compared and the difference may be rounding).
        error: Largest difference of corresponding layers on the same inputs, or of both models' outputs, as a share of
            the base's variation.
        variation: Variation of the base's outputs over the inputs, as a share of their size.
        layer: The first layer of the base whose partner computes something different; "" if there is none.
    """

    nesting: str
    error: float
    variation: float
    layer: str = ""

    @property
    def nested(self) -> bool:
        """Whether the motivated model contains the base."""
        return self.nesting in ("exact", "up to layer norm")


def verified(weights_map: Any) -> Verdict:
    """Runs the probe of a map that was found by names and shapes.

    Args:
        weights_map: The `WeightsMap`, with a batch of the user's data if there is one.

    Returns:
        The `Verdict`.

    Raises:
        ValueError: If the map is wrong, or if nothing can be proven.

    Warns:
        UserWarning: If new layers cannot be silenced, so that nesting cannot be proven.
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
    if not new or weights_map.unclear:
        where = f" (first those of layer '{verdict.layer}')" if verdict.layer else ""
        problem = (
            f"with the extension at zero, the outputs differ by {verdict.error:.2g} of their variation{where}, though "
            "all layers match or their results are only added. Perhaps a widened tensor is reordered (flattened, "
            "joined, split into gates or heads), layers of the same name compute different things, or a layer mixes "
            "all channels (a softmax over them, a norm of its own kind). If it is the last of these and you accept it, "
            "pass `weights_map=WeightsMap.infer(base, motivated, check=False)`"
        )
        raise ValueError(refusal(weights_map.base, weights_map.motivated, [problem, *weights_map.unclear]))
    warn(
        f"The extension of '{weights_map.base.name}' in '{weights_map.motivated.name}' cannot be silenced: with all of "
        f"it at zero, the outputs still differ by {verdict.error:.2g} of their variation. Perhaps no residual "
        f"connection goes around the new layers ({', '.join(new[:4])}{', ...' if new[4:] else ''}), or a norm follows "
        "it. Or the map is wrong; this check cannot tell which. The pair trains, and its extension starts as it was "
        "built."
    )
    return verdict


def _short(error: Exception) -> str:
    """The text of an error, shortened, because Keras adds the values of tensors."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-100:]}"


def _inputs(weights_map: Any) -> str:
    return "generated inputs" if weights_map.x is None else "the batch `x`"


def _why_unknown(weights_map: Any, verdict: Verdict) -> str:
    if verdict.variation < LEAST_VARIATION:
        return (
            f"the base's outputs vary by {verdict.variation:.1e} of their size across {_inputs(weights_map)}, which "
            "proves nothing"
        )
    if weights_map.probe().is_random():
        return "the base's outputs are random even in inference mode"
    return (
        f"the outputs differ by {verdict.error:.2g} of their variation. This may be rounding or an error, because "
        "these models cannot be compared layer by layer"
    )


def _unproven(weights_map: Any, problem: str) -> str:
    data = "" if weights_map.x is not None else "Pass a batch of your data: `MotivatedModel(..., x=batch)`. "
    return (
        f"The weights of '{weights_map.base.name}' map into '{weights_map.motivated.name}' by names and shapes, but "
        f"this cannot be shown by numbers: {problem}. {data}If you know that the map is correct, pass "
        "`weights_map=WeightsMap.infer(base, motivated, check=False)`."
    )


def _new_in_the_way(weights_map: Any) -> list[str]:
    """Names of new layers that may be the reason for a difference: all except those whose results are only added."""
    hidden = find_block_ends(weights_map.motivated, lambda layer: status(weights_map, layer))[1]
    return [layer.name for outer in hidden for layer, _ in layers_with_weights(outer)]


def warn(message: str) -> None:
    """Warns at the line of the user's code that called this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("keras_motivation"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
