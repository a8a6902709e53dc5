"""Random weights and inputs on which any model can be tried; and inputs of the user's, made ready for it."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.input_hints import Hint, input_hints

# As many inputs as make up so many numbers, but no fewer and no more than this: they cost little where they are small,
# and among a few, a maximum over channels may never fall on a channel that grew.
NUMBERS, FEWEST, MOST = 2048, 4, 16
LARGE = 200_000  # numbers of one input from which on two will do: what each layer makes of them is kept
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


def random_weight(
    variable: Any, numbers: Callable[[tuple[int, ...]], np.ndarray], output_first: bool = False
) -> np.ndarray:
    """Random, and such that a signal neither dies nor explodes: scales near 1, kernels by their fan-in.

    Args:
        variable: The weight.
        numbers: See `random_numbers`.
        output_first: Whether a kernel's first axis makes output channels, and not its last.
    """
    shape = tuple(variable.shape)
    value = numbers(shape)
    if len(shape) < 2:
        near_one = variable.name in ("gamma", "scale", "moving_variance")
        return np.abs(1 + 0.3 * value) if near_one else 0.1 * value
    if "embedding" in variable.name:  # looked up, not summed over
        return value
    if output_first:
        return value * np.float32(np.sqrt(2 / max(1, np.prod(shape[1:]))))
    per_channel = "depthwise" in variable.path and len(shape) > 2
    return value * np.float32(np.sqrt(2 / max(1, np.prod(shape[: -2 if per_channel else -1]))))


def guesses(model: Any, random: np.random.Generator) -> Iterator[Any]:
    """Batches for a model's inputs, the likeliest first.

    Where the model normalises or rescales an input, that says which numbers it is for; where it looks integers up,
    which there are. Else images are standardised, or pixels where the model brings them to a common size somewhere;
    numbers are standard normal, integers 0 and 1. The second guess differs in scale, unless all is known; the last ones
    have integers of 0 and 1, which are positions as well.

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
            f"Inputs for model '{model.name}' cannot be made up: pass a batch of your data, `x=batch`. Received: x=None"
        )
    flat, hints = keras.tree.flatten(specs), input_hints(model)
    scaling = (keras.layers.Rescaling, keras.layers.Normalization)
    pixels = any(isinstance(layer, scaling) for layer in _keras.all_layers(model))
    larger = [100.0 if len(spec.shape) > 3 else 10.0 for spec in flat]
    scales = [larger, [1.0] * len(flat)] if pixels else [[1.0] * len(flat), larger]
    if all(_is_known(spec, hint) for spec, hint in zip(flat, hints)):
        scales = scales[:1]
    left_open = any(size is None for spec in flat for size in spec.shape[1:])
    cautious = [replace(hint, ids=None) if _is_integer(spec) else hint for spec, hint in zip(flat, hints)]
    for free, told in itertools.product(OPEN_SIZES if left_open else OPEN_SIZES[:1], (hints, cautious)):
        numbers = sum(math.prod(_shape(spec, free)) for spec in flat)
        samples = min(MOST, max(FEWEST if numbers < LARGE else 2, NUMBERS // max(1, numbers)))
        for scale in scales:
            drawn = [_draw(spec, hint, samples, free, s, random) for spec, hint, s in zip(flat, told, scale)]
            yield keras.tree.pack_sequence_as(specs, drawn)


def given(model: Any, x: Any) -> Any:
    """A batch of the user's as tensors: the first few samples of it.

    Args:
        model: The model that takes it.
        x: Arrays or tensors, nested as the model's inputs.

    Returns:
        Likewise, of at most 16 samples unless the model's batch size is fixed.

    Raises:
        ValueError: If it is no such batch, or has not two samples that differ.
    """
    expected = "a batch of inputs as the models take them, nested likewise: arrays or tensors of at least 2 samples"
    try:
        arrays = [np.asarray(a) if isinstance(a, list | tuple | int | float) else a for a in keras.tree.flatten(x)]
        sizes = {int(array.shape[0]) for array in arrays}
    except (AttributeError, IndexError, TypeError, ValueError):
        raise ValueError(f"Argument `x` must be {expected}. Received: x=<{type(x).__name__}>") from None
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(f"Argument `x` must be {expected}. Received: arrays of {sorted(sizes)} samples")
    struct = _keras.inputs_struct(model)
    specs = [] if struct is None else keras.tree.flatten(struct)
    if len(specs) != len(arrays):
        specs = [None] * len(arrays)
    if not any(spec is not None and spec.shape and spec.shape[0] for spec in specs):
        arrays = [array[:MOST] for array in arrays]
    tensors = [_tensor(array, spec) for array, spec in zip(arrays, specs)]
    if not any(bool(np.any(n != n[:1])) for n in map(_array, tensors)):
        raise ValueError(
            "Argument `x` must hold samples that differ, for equal ones prove nothing. Received: the first "
            f"{len(arrays[0])} of `x` are equal"
        )
    return keras.tree.pack_sequence_as(x, tensors)


def standardised(x: Any) -> Any:
    """A batch of the user's with each number standardised over the samples: what is large there can hide the rest."""

    def each(tensor: Any) -> Any:
        if not ops.is_tensor(tensor) or "float" not in keras.backend.standardize_dtype(tensor.dtype):
            return tensor
        deviation = ops.std(tensor, axis=0, keepdims=True)
        return (tensor - ops.mean(tensor, axis=0, keepdims=True)) / ops.where(deviation > 0, deviation, 1.0)

    return keras.tree.map_structure(each, x)


def _tensor(array: Any, spec: Any) -> Any:
    """A tensor of the dtype that the model declares, or of Keras's; text stays as it is."""
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biuf":
        return array
    tensor = ops.convert_to_tensor(array)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if spec is not None and spec.dtype != "string":
        return ops.cast(tensor, spec.dtype)
    return ops.cast(tensor, keras.config.floatx()) if dtype == "float64" else tensor


def _array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor) if ops.is_tensor(tensor) else np.asarray(tensor)


def _shape(spec: Any, free: tuple[int, int]) -> list[int]:
    """The shape of one input, with sizes for the axes that are open."""
    return [free[len(spec.shape) > 3] if size is None else size for size in spec.shape[1:]]


def _is_integer(spec: Any) -> bool:
    dtype = keras.backend.standardize_dtype(spec.dtype)
    return "int" in dtype or dtype == "bool"


def _is_known(spec: Any, hint: Hint) -> bool:
    """Whether no other scale of an input is likely."""
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
