"""Random values for all variables of both models of a map, with parts of the extension at zero."""

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.numeric_check.torch_modules import kernels


class PairValues:
    """Values for the base's variables, and values for the motivated model that contain them.

    Args:
        weights_map: The `WeightsMap`.
        random: Source of randomness.

    Attributes:
        base: Values of the base's variables, by the id of the variable.
    """

    def __init__(self, weights_map: Any, random: np.random.Generator) -> None:
        self._map = weights_map
        self.base: dict[int, Any] = _drawn(weights_map.base, random)
        self._own = _drawn(weights_map.motivated, random)
        self._assembled: dict[int, Any] = {}

    def with_base(self, base: dict[int, Any]) -> "PairValues":
        """The same values, with others for the base."""
        other = copy.copy(self)
        other.base, other._assembled = base, {}
        return other

    @functools.cached_property
    def everything(self) -> dict[int, Any]:
        """Zeros for the whole extension, as `silenced` takes them."""
        # Buffers of integers are quantized kernels.
        buffers = {id(v) for v in _keras.buffers(self._map.motivated) if "int" not in str(v.dtype)}
        return {id(v): True for v in self._map.motivated.variables if id(v) not in buffers and not _keras.is_seed(v)}

    def silenced(self, zeros: Mapping[int, Any]) -> dict[int, Any]:
        """Values for all variables of both models.

        Args:
            zeros: Masks of the extension's entries that are zero, or `True` for all, by the id of a motivated variable.
        """
        values = dict(self.base)
        for v in self._map.motivated.variables:
            if id(v) in zeros:
                values[id(v)] = self._assemble(v, zeros[id(v)])
            else:
                if id(v) not in self._assembled:
                    self._assembled[id(v)] = self._assemble(v, False)
                values[id(v)] = self._assembled[id(v)]
        return values

    def _assemble(self, variable: Any, mask: Any) -> Any:
        found = self._map.partner(variable)
        if found is not None and found[1].whole:
            return ops.convert_to_tensor(self.base[id(found[0])], variable.dtype)
        value = self._own[id(variable)]
        if mask is True:
            value = np.zeros_like(value)
        elif mask is not False:
            value = np.where(mask, np.zeros((), value.dtype), value)
        value = ops.convert_to_tensor(value, variable.dtype)
        if found is None:
            return value
        return found[1].place(ops.convert_to_tensor(self.base[id(found[0])], variable.dtype), value)


def _drawn(model: Any, random: np.random.Generator) -> dict[int, np.ndarray]:
    """Random values for weights and moving statistics. Seeds and constants of the data keep their values."""
    buffers = {id(v) for v in _keras.buffers(model) if not v.name.startswith("moving_")}
    # A scale of float8 is not a weight, although it is trained: it is overwritten with its "gradient".
    own = [getattr(v, "overwrite_with_gradient", False) or _keras.is_seed(v) for v in model.variables]
    keeps = [v for v, keep in zip(model.variables, own) if keep or id(v) in buffers]
    kept = {id(v): ops.convert_to_numpy(ops.copy(v.value)) for v in keeps}  # a scalar of several replicas has no array
    numbers = _numbers(random)
    first = {id(v) for v in kernels(model)}  # their output axis is the first; that of others is the last
    drawn = {id(v): _weight(v, numbers, id(v) in first) for v in model.variables if id(v) not in kept}
    return drawn | kept


def _numbers(random: np.random.Generator) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Standard normal numbers by shape, from one pool, because drawing 100 million weights takes seconds.

    The pool's size is a prime number, so that no two rows or columns of a large tensor are equal.
    """
    pool = random.standard_normal(1_000_003, np.float32)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        start, size = random.integers(len(pool)), math.prod(shape)
        if start + size <= len(pool):
            return pool[start : start + size].reshape(shape)
        return np.resize(np.roll(pool, -start), shape)

    return draw


def _weight(variable: Any, numbers: Callable[[tuple[int, ...]], np.ndarray], output_first: bool = False) -> np.ndarray:
    """A random value with which signals neither vanish nor explode: scales near 1, kernels scaled by their fan-in.

    Args:
        variable: The weight.
        numbers: See `_numbers`.
        output_first: Whether the output axis of a kernel is the first one instead of the last.
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
