"""A numeric test of nesting: with its extension silenced, the motivated model must compute what the base computes.

It runs both models on random weights and random inputs, in a scope in which Keras changes nothing, so the models keep
every value that they have. Fresh weights would not do: a deep net that was just initialised answers all inputs nearly
alike, and then any map looks right.
"""

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.assembly import positions

SAMPLES = 4
# The largest difference of the outputs, as a share of how much they vary from input to input, that counts as rounding.
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
TOLERANCE_HALF = 0.05
LEAST_VARIATION = 0.01


@dataclass(frozen=True)
class Verdict:
    """What a probe found.

    Attributes:
        nesting: "exact"; "up to layer norm" (exact once every layer norm over a widened axis looks at the base's
            channels alone); "differs"; or "unknown" (the base's outputs hardly vary, so that nothing is proven).
        error: Largest difference between both models' outputs, as a share of the base's variation.
        variation: How much the base's outputs vary across the inputs, as a share of their size.
    """

    nesting: str
    error: float
    variation: float

    @property
    def nested(self) -> bool:
        """Whether the motivated model contains the base."""
        return self.nesting in ("exact", "up to layer norm")


class Probe:
    """The base's outputs on random weights and inputs, and those of the motivated model for comparison.

    Args:
        weights_map: The `WeightsMap` to be tested.
        x: A batch of inputs as the models take them, or `None` to draw one that fits the base's inputs.
        seed: Seed of the random weights and inputs.

    Raises:
        ValueError: If `x` is `None` and the inputs cannot be guessed.
    """

    def __init__(self, weights_map: Any, x: Any = None, seed: int = 0) -> None:
        self.map = weights_map
        self.random = np.random.default_rng(seed)
        base, motivated = weights_map.base, weights_map.motivated
        self.tolerance = TOLERANCE.get(keras.backend.standardize_dtype(base.compute_dtype), TOLERANCE_HALF)
        self.base_values = self._draw(base)
        self.own_values = self._draw(motivated)
        self._restricted = _layer_norms(weights_map)
        guesses = (1.0, 100.0) if not _takes_pixels(base) else (100.0, 1.0)
        for size in guesses:
            self.x = _random_inputs(base, self.random, size) if x is None else x
            self.base_values |= self._batch_statistics()
            self.expected = self._run(base, self._values(base, self.base_values))
            sizes = [max(np.abs(o).max(), 1e-30) for o in self.expected]
            varied = [np.abs(o - o.mean(axis=0)).max() / size for o, size in zip(self.expected, sizes)]
            self.variation = float(max(varied))
            # What errors are measured by: how much each output varies, or a little of its size if it does not.
            self.scales = [max(v, LEAST_VARIATION) * size for v, size in zip(varied, sizes)]
            if x is not None or self.variation >= LEAST_VARIATION:
                break

    def verdict(self) -> Verdict:
        """Compares the models with the whole extension at zero."""
        if not self.variation >= LEAST_VARIATION:
            return Verdict("unknown", float("nan"), self.variation)
        buffers = {id(v) for v in _keras.buffers(self.map.motivated)}
        weights = [v for v in self.map.motivated.variables if id(v) not in buffers and not _keras.is_seed(v)]
        zeros = {id(v): True for v in weights}
        error = self.error(zeros, restrict=False)
        if self._restricted and not error <= self.tolerance:
            error = self.error(zeros)
            return Verdict("up to layer norm" if error <= self.tolerance else "differs", error, self.variation)
        return Verdict("exact" if error <= self.tolerance else "differs", error, self.variation)

    def is_silent(self, zeros: Mapping[int, Any]) -> bool:
        """Whether the motivated model computes what the base computes if these parts of its extension are zero."""
        return self.error(zeros) <= self.tolerance

    def is_smooth(self, zeros: Mapping[int, Any], moved: set[int]) -> bool:
        """Whether the outputs follow small changes of some zeros in proportion, so that gradients reach them.

        A ReLU behind them answers to one sign only, and its gradient at zero is zero; if something else that is zero
        stands in their way, nothing answers.
        """
        there, back = (self._outputs(zeros, moved=dict.fromkeys(moved, sign)) for sign in (0.01, -0.01))
        odd = self._largest([a - b for a, b in zip(there, back)])
        even = self._largest([a + b - 2 * o for a, b, o in zip(there, back, self._outputs(zeros))])
        return odd > 0.01 * self.tolerance and even < odd / 2

    def error(self, zeros: Mapping[int, Any], restrict: bool = True) -> float:
        """How far the motivated model's outputs are from the base's.

        Args:
            zeros: Masks, by the id of a motivated variable, of entries that are zero; the rest of the extension is
                random.
            restrict: Whether layer norms over a widened axis look at the base's channels alone.

        Returns:
            The largest difference as a share of how much the base's outputs vary; `nan` if outputs are not finite.
        """
        return self._largest([o - e for o, e in zip(self._outputs(zeros, restrict), self.expected)])

    def _largest(self, differences: list[Any]) -> float:
        return float(np.max([np.abs(d).max() / scale for d, scale in zip(differences, self.scales)]))

    def _outputs(
        self, zeros: Mapping[int, Any], restrict: bool = True, moved: Mapping[int, float] | None = None
    ) -> list[Any]:
        """The motivated model's outputs, as far as they are the base's; zeros in `moved` are this share of a weight."""
        mapping = self._values(self.map.base, self.base_values)
        for variable in self.map.motivated.variables:
            value = self.own_values[id(variable)]
            value = np.where(zeros.get(id(variable), False), (moved or {}).get(id(variable), 0) * value, value)
            found = self.map.partner(variable)
            if found is not None:
                inner = ops.convert_to_tensor(self.base_values[id(found[0])], variable.dtype)
                value = found[1].place(inner, ops.convert_to_tensor(value, variable.dtype))
            mapping.append((variable, value))
        calls = [(layer, _restricted_call(*inner)) for layer, *inner in (self._restricted if restrict else [])]
        outputs = self._run(self.map.motivated, mapping, calls)
        # Features of a bare backbone grow with it; their first channels are the base's.
        return [o[tuple(slice(0, size) for size in e.shape)] for o, e in zip(outputs, self.expected)]

    def _run(self, model: Any, mapping: Any, calls: Any = (), after: Any = None) -> Any:
        """The model's outputs in inference mode before their activation, or values of the variables `after` it."""
        kwargs = {"training": False} if _keras.takes_training(model) else {}
        values = [(v, ops.convert_to_tensor(value, v.dtype)) for v, value in mapping]
        with contextlib.ExitStack() as stack:
            for layer, call in calls:
                stack.enter_context(_keras.called_as(layer, call))
            stack.enter_context(_keras.linear_outputs(model))  # a saturated softmax answers all inputs alike
            scope = stack.enter_context(keras.StatelessScope(state_mapping=values, collect_losses=True))
            outputs = keras.tree.flatten(model(self.x, **kwargs))
            if after is not None:
                return [ops.convert_to_numpy(scope.get_current_value(v)) for v in after]
        return [ops.convert_to_numpy(output).astype("float64") for output in outputs]

    @staticmethod
    def _values(model: Any, values: Mapping[int, Any]) -> list[tuple[Any, Any]]:
        return [(v, values[id(v)]) for v in model.variables]

    def _draw(self, model: Any) -> dict[int, np.ndarray]:
        """Random values for weights and moving statistics; seeds and constants of the data keep theirs."""
        buffers = {id(v) for v in _keras.buffers(model) if not v.name.startswith("moving_")}
        keeps = [v for v in model.variables if id(v) in buffers or _keras.is_seed(v)]
        kept = {id(v): ops.convert_to_numpy(v.value) for v in keeps}
        return {id(v): _random_weight(v, self.random) for v in model.variables if id(v) not in kept} | kept

    def _batch_statistics(self) -> dict[int, np.ndarray]:
        """The moving statistics of the base's batch norms, each set to those of the inputs.

        In training mode a moving average becomes `momentum * old + (1 - momentum) * new`; from 0 it shows the new. Only
        the norms run in training mode: dropout would distort what follows.
        """
        norms = [n for n in _keras.all_layers(self.map.base) if _is_batch_norm(n)]
        moving = [v for n in norms for v in (n.moving_mean, n.moving_variance)]
        if not moving:
            return {}
        start = self.base_values | {id(v): np.zeros_like(self.base_values[id(v)]) for v in moving}
        calls = [(n, functools.partial(_training_call, n)) for n in norms]
        after = self._run(self.map.base, self._values(self.map.base, start), calls, after=moving)
        share = [1 - n.momentum for n in norms for _ in range(2)]
        return {id(v): value / s for v, value, s in zip(moving, after, share)}


def _training_call(layer: Any, x: Any, training: Any = None, mask: Any = None) -> Any:
    return type(layer).call(layer, x, training=True, mask=mask)


def _is_batch_norm(layer: Any) -> bool:
    """Whether it has statistics that a batch can set: built, not frozen (frozen ones never train), with momentum."""
    return isinstance(layer, keras.layers.BatchNormalization) and layer.built and layer.trainable and layer.momentum < 1


def _layer_norms(weights_map: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """Norms over a widened last axis: the motivated layer, the base's, and where the base's channels are."""
    owners = {id(v): layer for layer in _keras.all_layers(weights_map.base) for v in layer.weights}
    found = []
    for layer in _keras.all_layers(weights_map.motivated):
        if _keras.normalizes_channels(layer) and layer.weights:
            partner = weights_map.partner(layer.weights[0])
            if partner is not None and not partner[1].whole:
                index = next(e.index for e in weights_map.entries if e.motivated is layer.weights[0])
                found.append((layer, owners[id(partner[0])], positions(index, layer.weights[0].shape)[-1]))
    return found


def _restricted_call(inner: Any, chosen: np.ndarray) -> Any:
    """A layer norm's call that normalises the base's channels as the base does and silences the rest."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        size = x.shape[-1]
        y = inner.call(ops.take(x, chosen.astype("int32"), axis=-1), *args, **kwargs)
        scatter = np.zeros((len(chosen), size), "float32")
        scatter[np.arange(len(chosen)), chosen] = 1
        return ops.matmul(y, ops.cast(scatter, y.dtype))

    return call


def _random_weight(variable: Any, random: np.random.Generator) -> np.ndarray:
    """Random, and such that a signal neither dies nor explodes: scales near 1, kernels by their fan-in."""
    shape = tuple(variable.shape)
    value = random.standard_normal(shape, np.float32)
    if len(shape) < 2:
        near_one = variable.name in ("gamma", "scale", "moving_variance")
        return np.abs(1 + 0.3 * value) if near_one else 0.1 * value
    per_channel = "depthwise" in variable.path and len(shape) > 2
    return value * np.float32(np.sqrt(2 / max(1, np.prod(shape[: -2 if per_channel else -1]))))


def _takes_pixels(model: Any) -> bool:
    """Whether a model brings its inputs to a common size itself, and so expects images of values up to 255."""
    scaling = (keras.layers.Rescaling, keras.layers.Normalization)
    return any(isinstance(layer, scaling) for layer in _keras.all_layers(model))


def _random_inputs(model: Any, random: np.random.Generator, size: float) -> Any:
    """A batch for the model's inputs: noise, for images of this size; 0 and 1 where integers are wanted."""

    def draw(spec: Any) -> Any:
        image = len(spec.shape) > 3
        shape = [SAMPLES, *((32 if image else 4) if axis is None else axis for axis in spec.shape[1:])]
        dtype = keras.backend.standardize_dtype(spec.dtype)
        if "int" in dtype or dtype == "bool":
            return random.integers(0, 2, size=shape).astype(dtype)
        noise = random.normal(size=shape)
        return ops.cast(size * np.abs(noise) if image else noise, dtype)

    specs = _keras.inputs_struct(model)
    if specs is None or any(spec.dtype == "string" for spec in keras.tree.flatten(specs)):
        raise ValueError(
            f"Inputs for model '{model.name}' cannot be made up: pass a batch of your data, `verify(x)`. "
            "Received: x=None"
        )
    return keras.tree.map_structure(draw, specs)
