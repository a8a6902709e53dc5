"""Generates random inputs for a model, from what its layers tell about them."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.numeric_check.inputs.given import MOST
from keras_motivation.nesting.numeric_check.inputs.hints import Hint, input_hints

# The number of inputs: enough for this many numbers, but within these limits. Small inputs cost little, and with only a
# few of them a maximum over channels may never be at a new channel.
NUMBERS, FEWEST = 2048, 4
LARGE = 200_000  # numbers in one input; above this, two inputs are used, because all layers' outputs are stored
# Sizes for open axes, of sequences and of images. The longer ones are for models for which the first are too short.
OPEN_SIZES = ((4, 32), (32, 64), (128, 128))


def guesses(model: Any, random: np.random.Generator) -> Iterator[Any]:
    """Generates batches for a model's inputs, the most likely one first.

    If the model normalises or rescales an input, this shows which numbers it expects. If it looks up integers, the
    table shows which ids exist. Otherwise images are standardised; they are pixels if the model rescales or normalises
    anything. Other numbers are standard normal, and integers are 0 and 1. The second batch has another scale, unless
    everything is known. In the last batches integers are 0 and 1, because they may be positions.

    Args:
        model: A built model.
        random: Source of randomness.

    Yields:
        Inputs in the model's structure.

    Raises:
        ValueError: If the shapes of the inputs are not known, or if inputs are text.
    """
    specs = _keras.inputs_struct(model)
    if specs is None or any(spec.dtype == "string" for spec in keras.tree.flatten(specs)):
        raise ValueError(
            f"Inputs for model '{model.name}' cannot be generated: pass a batch of your data, `x=batch`. Received: "
            "x=None"
        )
    flat, hints = keras.tree.flatten(specs), input_hints(model)
    scaling = (keras.layers.Rescaling, keras.layers.Normalization)
    pixels = any(isinstance(layer, scaling) for layer in _keras.all_layers(model))
    larger = [100.0 if len(spec.shape) > 3 else 10.0 for spec in flat]
    scales = [larger, [1.0] * len(flat)] if pixels else [[1.0] * len(flat), larger]
    if all(_is_known(spec, hint) for spec, hint in zip(flat, hints)):
        scales = scales[:1]
    left_open = any(size is None for spec in flat for size in spec.shape[1:])
    ways = [hints]
    if any(_is_integer(spec) and hint.ids is not None for spec, hint in zip(flat, hints)):
        ways.append([replace(hint, ids=None) if _is_integer(spec) else hint for spec, hint in zip(flat, hints)])
    for free, told in itertools.product(OPEN_SIZES if left_open else OPEN_SIZES[:1], ways):
        numbers = sum(math.prod(_shape(spec, free)) for spec in flat)
        samples = min(MOST, max(FEWEST if numbers < LARGE else 2, NUMBERS // max(1, numbers)))
        for scale in scales:
            drawn = [_draw(spec, hint, samples, free, s, random) for spec, hint, s in zip(flat, told, scale)]
            yield keras.tree.pack_sequence_as(specs, drawn)


def _shape(spec: Any, free: tuple[int, int]) -> list[int]:
    """The shape of one input, with sizes for its open axes."""
    return [free[len(spec.shape) > 3] if size is None else size for size in spec.shape[1:]]


def _is_integer(spec: Any) -> bool:
    dtype = keras.backend.standardize_dtype(spec.dtype)
    return "int" in dtype or dtype == "bool"


def _is_known(spec: Any, hint: Hint) -> bool:
    """Whether the scale of an input is known."""
    return _is_integer(spec) or hint.pixels or hint.only_ids or hint.mean is not None


def _draw(spec: Any, hint: Hint, samples: int, free: tuple[int, int], scale: float, random: np.random.Generator) -> Any:
    image = len(spec.shape) > 3
    shape = [spec.shape[0] or samples, *_shape(spec, free)]
    dtype = keras.backend.standardize_dtype(spec.dtype)
    if _is_integer(spec):
        most = 256 if hint.pixels or (image and dtype == "uint8") else hint.ids or 2
        return ops.convert_to_tensor(random.integers(0, 2 if dtype == "bool" else most, size=shape), dtype)
    noise: Any = random.normal(size=shape)
    if hint.pixels:
        noise = random.uniform(0, 255, size=shape)
    elif hint.mean is not None:
        noise = hint.mean + hint.deviation * noise
    elif hint.only_ids:  # given as numbers
        noise = random.integers(0, hint.ids, size=shape)
    else:
        noise = scale * np.abs(noise) if image else scale * noise
    return ops.cast(ops.convert_to_tensor(noise, "float32" if dtype != "float64" else dtype), dtype)
