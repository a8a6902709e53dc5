"""Layer by layer: compares each layer of the motivated model with its partner in the base, on the same inputs.

Rounding grows from layer to layer, to hundredths through the 800 layers of EfficientNet-B7, and a large residual stream
can hide a wrong branch. So each layer is checked alone: its output is compared with its partner's output and then
replaced by it. Only the rounding of one layer remains.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.backend import unshared
from keras_motivation.nesting.numeric_check.sites import Site
from keras_motivation.nesting.placement import Placement

Notes = dict[tuple[int, int, int], Any]  # by the numbers of site, call and output; layers may have several
LEAST_VARIATION = 0.01  # as a share of an output's size; a smaller variation is too close to rounding


def noting(sites: Sequence[Site], notes: Notes) -> list[tuple[Any, Callable[[Any], Any]]]:
    """For each layer of the base, a wrapper of its call that adds the outputs to `notes`."""

    def note(number: int, key: tuple[int, int], leaf: Any) -> Any:
        notes[number, *key] = unshared(leaf)
        return leaf

    def wrapper(number: int) -> Callable[[Any], Any]:
        return lambda call: _followed(call, functools.partial(note, number))

    return [(site.inner, wrapper(number)) for number, site in enumerate(sites)]


def forcing(sites: Sequence[Site], notes: Notes, errors: Notes) -> list[tuple[Any, Callable[[Any], Any]]]:
    """For each layer of the motivated model, a wrapper of its call that replaces the output by the base's output.

    Args:
        sites: The sites of the `notes`.
        notes: The outputs of the base's layers.
        errors: Receives, for each call, the difference between its own output and the base's, as a share of the
            variation of the base's output.
    """

    def wrapper(number: int, site: Site) -> Callable[[Any], Any]:
        def force(key: tuple[int, int], leaf: Any) -> Any:
            expected = notes.get((number, *key))
            if expected is None:
                errors[number, *key] = ops.convert_to_tensor(np.nan)  # the base has no such call
                return leaf
            placement = _placement(site, tuple(expected.shape), tuple(leaf.shape))
            if placement is None:
                errors[number, *key] = ops.convert_to_tensor(0.0)  # they cannot be compared
                return leaf
            errors[number, *key] = _difference(placement.take(leaf), expected)
            forced = placement.place(unshared(ops.cast(expected, leaf.dtype)), leaf)
            _keras.copy_mask(leaf, forced)
            return forced

        return lambda call: _followed(call, force)

    return [(site.outer, wrapper(number, site)) for number, site in enumerate(sites)]


def _followed(call: Any, see: Callable[[tuple[int, int], Any], Any]) -> Callable[..., Any]:
    """Passes the floating-point results of a call through `see`, with the number of the call and of the result."""
    calls = 0

    def followed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        result = call(*args, **kwargs)
        leaves = keras.tree.flatten(result)
        seen = [see((calls, i), leaf) if _is_number(leaf) else leaf for i, leaf in enumerate(leaves)]
        calls += 1
        return keras.tree.pack_sequence_as(result, seen)

    return followed


def _is_number(leaf: Any) -> bool:
    return ops.is_tensor(leaf) and "float" in keras.backend.standardize_dtype(leaf.dtype) and all(leaf.shape)


def _placement(site: Site, inner: tuple[int, ...], outer: tuple[int, ...]) -> Placement | None:
    """The placement of the base's output in the motivated output; None if it does not fit."""
    if len(inner) != len(outer) or any(i > o for i, o in zip(inner, outer)):
        return None
    index: list[Any] = [slice(0, size) for size in inner]
    for axis, chosen in site.channels.items():
        if -axis > len(inner) or len(chosen) != inner[axis] or max(chosen, default=0) >= outer[axis]:
            return None
        index[axis] = chosen
    return Placement(tuple(index), outer)


def _difference(found: Any, expected: Any) -> Any:
    """The largest difference, divided by the variation of `expected` over samples, or by a small part of its size."""
    dtype = "float64" if keras.backend.standardize_dtype(expected.dtype) == "float64" else "float32"
    found, expected = ops.cast(found, dtype), ops.cast(expected, dtype)
    size = ops.max(ops.abs(expected))
    varies = ops.max(ops.abs(expected - ops.mean(expected, axis=0))) if len(expected.shape) else ops.zeros_like(size)
    scale = ops.maximum(varies, LEAST_VARIATION * size + 1e-30)
    return ops.max(ops.where(ops.equal(found, expected), ops.zeros_like(found), ops.abs(found - expected))) / scale
