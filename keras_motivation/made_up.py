"""Random weights and inputs on which any model can be tried."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras

# As many inputs as make up so many numbers, but no fewer and no more than this: they cost little where they are small,
# and among a few, a maximum over channels may never fall on a channel that grew.
NUMBERS, FEWEST, MOST = 2048, 4, 16
# Sizes of axes that a model leaves open: of sequences and of images. Longer ones are for who finds these too short.
OPEN_SIZES = ((4, 32), (32, 64), (128, 128))


def random_numbers(random: np.random.Generator) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Standard normal numbers by shape, from one pool: to draw each of 100 million weights takes seconds.

    The pool's size is prime, so that no two rows or columns of a large tensor come out the same.
    """
    pool = random.standard_normal(1_000_003, np.float32)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        start, size = random.integers(len(pool)), math.prod(shape)
        if start + size <= len(pool):
            return pool[start : start + size].reshape(shape)
        return np.resize(np.roll(pool, -start), shape)

    return draw


def random_weight(variable: Any, numbers: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """Random, and such that a signal neither dies nor explodes: scales near 1, kernels by their fan-in."""
    shape = tuple(variable.shape)
    value = numbers(shape)
    if len(shape) < 2:
        near_one = variable.name in ("gamma", "scale", "moving_variance")
        return np.abs(1 + 0.3 * value) if near_one else 0.1 * value
    if "embedding" in variable.name:  # looked up, not summed over
        return value
    per_channel = "depthwise" in variable.path and len(shape) > 2
    return value * np.float32(np.sqrt(2 / max(1, np.prod(shape[: -2 if per_channel else -1]))))


def guesses(model: Any, random: np.random.Generator) -> Iterator[Any]:
    """Batches for a model's inputs, the likeliest first.

    Images are standardised, or pixels up to 255 where the model itself brings them to a common size; the other of the
    two is the second guess. Where integers are wanted they are 0 and 1, which any vocabulary has.

    Args:
        model: A built model.
        random: Source of randomness.

    Yields:
        Inputs as the model nests them.

    Raises:
        ValueError: If the shapes of the inputs are not known, or they are text.
    """
    specs = _keras.inputs_struct(model)
    if specs is None or any(spec.dtype == "string" for spec in keras.tree.flatten(specs)):
        raise ValueError(
            f"Inputs for model '{model.name}' cannot be made up: pass a batch of your data, `verify(x)`. "
            "Received: x=None"
        )
    scaling = (keras.layers.Rescaling, keras.layers.Normalization)
    pixels = any(isinstance(layer, scaling) for layer in _keras.all_layers(model))
    left_open = any(size is None for spec in keras.tree.flatten(specs) for size in spec.shape[1:])
    for free in OPEN_SIZES if left_open else OPEN_SIZES[:1]:
        numbers = sum(math.prod(_shape(spec, free)) for spec in keras.tree.flatten(specs))
        samples = min(MOST, max(FEWEST, NUMBERS // max(1, numbers)))
        for scale in (100.0, 1.0) if pixels else (1.0, 100.0):
            draw = functools.partial(_draw, samples=samples, free=free, scale=scale, random=random)
            yield keras.tree.map_structure(draw, specs)


def _shape(spec: Any, free: tuple[int, int]) -> list[int]:
    """The shape of one input, with sizes for the axes that are open."""
    return [free[len(spec.shape) > 3] if size is None else size for size in spec.shape[1:]]


def _draw(spec: Any, samples: int, free: tuple[int, int], scale: float, random: np.random.Generator) -> Any:
    image = len(spec.shape) > 3
    shape = [spec.shape[0] or samples, *_shape(spec, free)]
    dtype = keras.backend.standardize_dtype(spec.dtype)
    if "int" in dtype or dtype == "bool":
        return random.integers(0, 256 if image and dtype == "uint8" else 2, size=shape).astype(dtype)
    noise = random.normal(size=shape)
    return ops.cast(scale * np.abs(noise) if image else noise, dtype)
