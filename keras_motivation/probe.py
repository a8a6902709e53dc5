"""A numeric test of nesting: with its extension silenced, the motivated model must compute what the base computes.

It runs both models on random weights and random inputs, in a scope in which Keras changes nothing, so the models keep
every value that they have. Fresh weights would not do: a deep net that was just initialised answers all inputs nearly
alike, and then any map looks right.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.assembly import positions
from keras_motivation.made_up import guesses, random_numbers, random_weight
from keras_motivation.trial import Calls, Trial

LEAST_VARIATION = 0.01
MOST_DRAWS = 3  # of random weights: in a small net, a few of them may stop every signal


@dataclass(frozen=True)
class Precision:
    """What rounding may do, as a share of how much the outputs vary from input to input.

    Attributes:
        models: Largest difference between two models that compute the same. Wrong entries make it 0.3 and more, but for
            one draw in a hundred; the tensor cores of a GPU round float32 to 11 bits, which deep nets amplify to some
            hundredths.
        doubt: Difference from which on other draws are asked too, lest it is that one.
        runs: Largest difference between two runs of one model in which something that is multiplied by zero changes.
    """

    models: float
    doubt: float
    runs: float


# Of float64 too, Keras takes means, and under PyTorch multiplies matrices, in float32 (under TensorFlow it does not).
PRECISIONS = {"float64": Precision(1e-3, 1e-4, 1e-5), "float32": Precision(0.05, 1e-3, 1e-4)}
HALF = Precision(0.1, 0.02, 0.01)


@dataclass(frozen=True)
class Verdict:
    """What a probe found.

    Attributes:
        nesting: "exact"; "up to layer norm" (exact once every layer norm over a widened axis looks at the base's
            channels alone); "differs"; or "unknown" (nothing is proven: the models could not be run on made-up inputs,
            the base's outputs hardly vary, or they are random).
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
        x: A batch of inputs as the models take them, or `None` to make one up that fits the base's inputs.
        seed: Seed of the random weights and inputs.

    Raises:
        ValueError: If `x` is `None` and the inputs cannot be made up.
    """

    def __init__(self, weights_map: Any, x: Any = None, seed: int = 0) -> None:
        self.map, self._given, self._seed = weights_map, x, seed
        self.random = np.random.default_rng(seed)
        base, motivated = weights_map.base, weights_map.motivated
        dtypes = {layer.compute_dtype for model in (base, motivated) for layer in _keras.all_layers(model)}
        precisions = [PRECISIONS.get(keras.backend.standardize_dtype(d), HALF) for d in dtypes if d is not None]
        self.precision = max(precisions, key=lambda p: p.models)
        self._assembled: dict[int, Any] = {}
        self._norms = _layer_norms(weights_map)
        # A saturated softmax answers all inputs alike. Without it on one side only, equal models would differ.
        activations = [[a for _, a in _keras.output_activations(model)] for model in (base, motivated)]
        linear = activations[0] == activations[1]
        self._base, self._motivated = Trial(base, linear), Trial(motivated, linear, base.variables)
        for _ in range(MOST_DRAWS):
            self.base_values = self._draw(base)
            self.own_values = self._draw(motivated)
            self._try(guesses(base, self.random) if x is None else [x])
            if self.variation >= LEAST_VARIATION:
                break

    def _try(self, batches: Iterable[Any]) -> None:
        """Runs the base on each batch, until its outputs vary."""
        errors: list[Exception] = []
        for batch in batches:
            try:
                self._run_base(batch)
            except Exception as error:  # a sequence that is too short for the model, say
                errors.append(error)
                continue
            if self.variation >= LEAST_VARIATION:
                return
        if not hasattr(self, "expected"):
            raise errors[0]

    def _run_base(self, batch: Any) -> None:
        values = self.base_values | self._batch_statistics(batch)
        self.expected = self._base.outputs(values, batch)
        # Tensors, since each run of either model takes them again.
        self.x, self.base_values = batch, {key: ops.convert_to_tensor(value) for key, value in values.items()}
        sizes = [max(np.abs(o).max(), 1e-30) for o in self.expected]
        varied = [np.abs(o - o.mean(axis=0)).max() / size for o, size in zip(self.expected, sizes)]
        self.variation = float(np.nan_to_num(max(varied)))
        # What errors are measured by: how much each output varies, or a little of its size if it does not.
        self.scales = [max(v, LEAST_VARIATION) * size for v, size in zip(varied, sizes)]

    def verdict(self) -> Verdict:
        """Compares the models with the whole extension at zero; again with other weights if they agree but roughly."""
        first = self._compared()
        if not first.nested or first.error <= self.precision.doubt:
            return first
        draws = [first, *(Probe(self.map, self._given, self._seed + i)._compared() for i in range(1, 4))]
        known = [verdict for verdict in draws if verdict.nesting != "unknown"]
        return sorted(known, key=lambda verdict: np.nan_to_num(verdict.error, nan=np.inf))[len(known) // 2]

    def _compared(self) -> Verdict:
        if self.variation < LEAST_VARIATION:
            return Verdict("unknown", float("nan"), self.variation)
        outputs = self._outputs(self._everything, restrict=False) if self._norms else self._silenced
        nesting, error = "exact", self._largest(outputs, self.expected)
        if self._norms and not error <= self.precision.models:
            nesting, error = "up to layer norm", self._largest(self._silenced, self.expected)
        if not error <= self.precision.models:
            nesting = "unknown" if self._is_random() else "differs"
        return Verdict(nesting, error, self.variation)

    def is_silent(self, zeros: Mapping[int, Any]) -> bool:
        """Whether the extension has no effect if these parts of it are zero and the rest is random.

        Args:
            zeros: Masks of entries, or `True` for all, by the id of a motivated variable.
        """
        return self._largest(self._outputs(zeros), self._silenced) <= self.precision.runs

    def learns(self, zeros: Mapping[int, Any], variables: list[Any]) -> bool:
        """Whether gradients reach each of some motivated variables, with these parts of the extension at zero.

        Behind a ReLU they do not, for its gradient at zero is zero; nor if something else that is zero is in the way.
        """
        found = self._motivated.gradients(variables, self._values(zeros), self.x, self._restricted)
        return all(g is not None and bool(np.any(g != 0)) for g in found)

    @functools.cached_property
    def _everything(self) -> dict[int, Any]:
        """Zeros for the whole extension."""
        buffers = {id(v) for v in _keras.buffers(self.map.motivated)}
        return {id(v): True for v in self.map.motivated.variables if id(v) not in buffers and not _keras.is_seed(v)}

    @functools.cached_property
    def _silenced(self) -> list[Any]:
        return self._outputs(self._everything)

    def _is_random(self) -> bool:
        """Whether the base's outputs depend on its random seeds even in inference mode."""
        seeds = {id(v): self.base_values[id(v)] + 1 for v in self.map.base.variables if _keras.is_seed(v)}
        again = self._base.outputs(self.base_values | seeds, self.x)
        return self._largest(again, self.expected) > self.precision.runs

    def _largest(self, outputs: list[Any], expected: list[Any]) -> float:
        """The largest difference, `nan` if something is not finite."""
        return float(np.max([np.abs(a - b).max() / scale for a, b, scale in zip(outputs, expected, self.scales)]))

    def _outputs(self, zeros: Mapping[int, Any], restrict: bool = True) -> list[Any]:
        """The motivated model's outputs, as far as they are the base's.

        Args:
            zeros: As in `is_silent`.
            restrict: Whether layer norms over a widened axis look at the base's channels alone.
        """
        outputs = self._motivated.outputs(self._values(zeros), self.x, self._restricted if restrict else ())
        # Features of a bare backbone grow with it; their first channels are the base's.
        return [o[tuple(slice(0, size) for size in e.shape)] for o, e in zip(outputs, self.expected)]

    @functools.cached_property
    def _restricted(self) -> Calls:
        """Calls of layer norms that look at the base's channels alone."""
        return [(layer, _restricted_call(*inner)) for layer, *inner in self._norms]

    def _values(self, zeros: Mapping[int, Any]) -> dict[int, Any]:
        """Values for all variables of both models."""
        values = dict(self.base_values)
        for v in self.map.motivated.variables:
            if id(v) in zeros:
                values[id(v)] = self._assemble(v, zeros[id(v)])
            else:
                if id(v) not in self._assembled:
                    self._assembled[id(v)] = self._assemble(v, False)
                values[id(v)] = self._assembled[id(v)]
        return values

    def _assemble(self, variable: Any, mask: Any) -> Any:
        value = self.own_values[id(variable)]
        value = ops.convert_to_tensor(np.where(mask, np.zeros_like(value), value), variable.dtype)
        found = self.map.partner(variable)
        if found is None:
            return value
        return found[1].place(ops.convert_to_tensor(self.base_values[id(found[0])], variable.dtype), value)

    def _draw(self, model: Any) -> dict[int, np.ndarray]:
        """Random values for weights and moving statistics; seeds and constants of the data keep theirs."""
        buffers = {id(v) for v in _keras.buffers(model) if not v.name.startswith("moving_")}
        keeps = [v for v in model.variables if id(v) in buffers or _keras.is_seed(v)]
        kept = {id(v): ops.convert_to_numpy(v.value) for v in keeps}
        numbers = random_numbers(self.random)
        return {id(v): random_weight(v, numbers) for v in model.variables if id(v) not in kept} | kept

    def _batch_statistics(self, batch: Any) -> dict[int, np.ndarray]:
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
        after = self._base.variables(moving, start, batch, calls)
        share = [1 - n.momentum for n in norms for _ in range(2)]
        return {id(v): value / s for v, value, s in zip(moving, after, share)}


def _training_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return type(layer).call(layer, *args, **{**kwargs, "training": True})


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
