"""Runs both models of a map with any values. What does not depend on the values is compiled once for all draws."""

import functools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.matching.names import own_variables
from keras_motivation.nesting.numeric_check.layer_by_layer import Notes
from keras_motivation.nesting.numeric_check.model_run import Calls, ModelRun
from keras_motivation.nesting.numeric_check.sites import find_sites
from keras_motivation.nesting.numeric_check.torch_modules import module_calls
from keras_motivation.nesting.placement import positions


@dataclass(frozen=True)
class Precision:
    """Differences that rounding may cause, as a share of the variation of outputs from input to input.

    Attributes:
        layer: Largest difference of one layer's outputs on equal inputs, and of the models' outputs after such layers.
            On a CPU, rounding causes 1e-6, and wrong entries cause 0.2 and more. Tensor cores round float32 to 11 bits,
            5e-4 of a value, and values may be ten times as large as their variation.
        models: Largest difference between the outputs of two models that compute the same. A deep net amplifies
            rounding to some hundredths.
        doubt: If the difference of a layer is larger than this, other draws are checked, too, because a difference may
            be small by chance.
        runs: Largest difference between two runs of one model in which only factors of zero change.
    """

    layer: float
    models: float
    doubt: float
    runs: float


# Keras computes means in float32 also for float64; under PyTorch, also matrix products (under TensorFlow it does not).
DOUBLE = Precision(1e-3, 1e-3, 1e-4, 1e-5)
SINGLE = Precision(5e-3, 0.05, 1e-4, 1e-4)  # also for half precision, which is computed in single precision here


class PairRun:
    """Both models in inference mode, with the calls that replace those of some layers.

    Args:
        weights_map: The `WeightsMap`.

    Attributes:
        base: The base's `ModelRun`.
        motivated: The motivated model's `ModelRun`, which also needs values for the base's variables.
        precision: Differences that rounding may cause.
        sites: The pairs of layers that are compared.
        restricted: Calls of layer norms over a widened axis, which use only the base's channels.
        norms: The base's batch norms whose statistics must be set.
        norms_training: Their calls, in training mode.
    """

    def __init__(self, weights_map: Any) -> None:
        base, motivated = weights_map.base, weights_map.motivated
        dtypes = {layer.compute_dtype for model in (base, motivated) for layer in _keras.all_layers(model)} - {None}
        self.precision = DOUBLE if dtypes == {"float64"} else SINGLE
        # A saturated softmax gives the same output for all inputs, so it is skipped. Both models must have it, because
        # otherwise equal models would differ.
        activations = [[a for _, a in _keras.output_activations(model)] for model in (base, motivated)]
        linear = activations[0] == activations[1]
        self.base = ModelRun(base, linear, calls=module_calls(base))
        self.motivated = ModelRun(motivated, linear, base, module_calls(motivated))
        self._map = weights_map
        self.sites = tuple(find_sites(weights_map))
        self._whole_layers = False
        self.restricted: Calls = [(layer, _restricted_call(*inner)) for layer, *inner in _layer_norms(weights_map)]
        self.norms = [layer for layer in _keras.all_layers(base) if _is_batch_norm(layer)]
        # Only the norms, because dropout would change the inputs of the next layers.
        self.norms_training: Calls = [(norm, functools.partial(_training_call, norm)) for norm in self.norms]

    def noted(self, values: dict[int, Any], x: Any) -> tuple[list[np.ndarray], Notes]:
        """The base's outputs, and the outputs of its layers at as many sites as possible."""
        before = self.sites, self._whole_layers
        while True:
            try:
                return self.base.noted(values, x, self.sites)
            except Exception:
                if not self.sites:
                    self.sites, self._whole_layers = before  # the sites were not the reason
                    raise
                self.look_less_deep()

    def batch_statistics(self, values: dict[int, Any], batch: Any) -> dict[int, np.ndarray]:
        """The moving statistics of the base's batch norms, set to the statistics of their inputs.

        In training mode, a moving average becomes `momentum * old + (1 - momentum) * new`. From an old value of 0
        follows the new value.

        Args:
            values: Values of the base's variables, by the id of the variable.
            batch: A batch of inputs.
        """
        moving = [v for n in self.norms for v in (n.moving_mean, n.moving_variance)]
        if not moving:
            return {}
        start = values | {id(v): np.zeros_like(values[id(v)]) for v in moving}
        after = self.base.variables(moving, start, batch, self.norms_training)
        share = [1 - n.momentum for n in self.norms for _ in range(2)]
        return {id(v): value / s for v, value, s in zip(moving, after, share)}

    def look_less_deep(self) -> None:
        """Compares composite layers as a whole; then no layers. Tensors cannot leave a loop in the user's code."""
        self.sites = () if self._whole_layers else tuple(find_sites(self._map, whole_layers=True))
        self._whole_layers = True


def _training_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return type(layer).call(layer, *args, **{**kwargs, "training": True})


def _is_batch_norm(layer: Any) -> bool:
    """Whether a batch can set its statistics: it must be built, not frozen (frozen ones never train), with momentum."""
    return isinstance(layer, keras.layers.BatchNormalization) and layer.built and layer.trainable and layer.momentum < 1


def _layer_norms(weights_map: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """Norms over a widened last axis: the motivated layer, the base's layer, the positions of the base's channels."""
    owners = {id(v): layer for layer in _keras.all_layers(weights_map.base) for v in own_variables(layer)}
    found = []
    for layer in _keras.all_layers(weights_map.motivated):
        if _keras.normalizes_channels(layer) and layer.weights:
            partner = weights_map.partner(layer.weights[0])
            if partner is not None and not partner[1].whole:
                index = next(e.index for e in weights_map.entries if e.motivated is layer.weights[0])
                found.append((layer, owners[id(partner[0])], positions(index, layer.weights[0].shape)[-1]))
    return found


def _restricted_call(inner: Any, chosen: np.ndarray) -> Any:
    """A call for a layer norm that normalises the base's channels as the base does, and sets the others to zero."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        size = x.shape[-1]
        y = inner.call(ops.take(x, chosen.astype("int32"), axis=-1), *args, **kwargs)
        scatter = np.zeros((len(chosen), size), "float32")
        scatter[np.arange(len(chosen)), chosen] = 1
        return ops.matmul(y, ops.cast(scatter, y.dtype))

    return call
