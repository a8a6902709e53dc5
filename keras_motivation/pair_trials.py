"""Both models of a map, to be run at any values: what does not depend on them, and is compiled once for all draws."""

import functools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.assembly import positions
from keras_motivation.layerwise import Notes, find_sites
from keras_motivation.matching import own_variables
from keras_motivation.torch_modules import module_calls
from keras_motivation.trial import Calls, Trial


@dataclass(frozen=True)
class Precision:
    """What rounding may do, as a share of how much outputs vary from input to input.

    Attributes:
        layer: Largest difference of one layer's outputs on equal inputs, and of the models' outputs behind such layers.
            On a CPU rounding makes 1e-6 of it and wrong entries 0.2 and more; tensor cores round float32 to 11 bits,
            5e-4 of a value, and values may be ten times as large as they vary.
        models: Largest difference between two models that compute the same, through all layers, of which a deep net
            amplifies the rounding to some hundredths.
        doubt: Difference of one layer from which on other draws are asked too, lest it is small by luck.
        runs: Largest difference between two runs of one model in which something that is multiplied by zero changes.
    """

    layer: float
    models: float
    doubt: float
    runs: float


# Of float64 too, Keras takes means, and under PyTorch multiplies matrices, in float32 (under TensorFlow it does not).
DOUBLE = Precision(1e-3, 1e-3, 1e-4, 1e-5)
SINGLE = Precision(5e-3, 0.05, 1e-4, 1e-4)  # half precision too: it is computed in single here


class PairTrials:
    """Both models in inference mode, and how the calls of some of their layers are replaced.

    Args:
        weights_map: The `WeightsMap`.

    Attributes:
        base: The base's `Trial`.
        motivated: The motivated model's `Trial`, which takes values for the base's variables too.
        precision: What rounding may do to the outputs.
        sites: Where both are compared layer by layer.
        restricted: Calls of layer norms over a widened axis, to look at the base's channels alone.
        norms: The base's batch norms that have statistics to be set.
        norms_training: Their calls, in training mode.
    """

    def __init__(self, weights_map: Any) -> None:
        base, motivated = weights_map.base, weights_map.motivated
        dtypes = {layer.compute_dtype for model in (base, motivated) for layer in _keras.all_layers(model)} - {None}
        self.precision = DOUBLE if dtypes == {"float64"} else SINGLE
        # A saturated softmax answers all inputs alike. Without it on one side only, equal models would differ.
        activations = [[a for _, a in _keras.output_activations(model)] for model in (base, motivated)]
        linear = activations[0] == activations[1]
        self.base = Trial(base, linear, calls=module_calls(base))
        self.motivated = Trial(motivated, linear, base, module_calls(motivated))
        self._map = weights_map
        self.sites = tuple(find_sites(weights_map))
        self._whole_layers = False
        self.restricted: Calls = [(layer, _restricted_call(*inner)) for layer, *inner in _layer_norms(weights_map)]
        self.norms = [layer for layer in _keras.all_layers(base) if _is_batch_norm(layer)]
        # Only the norms: dropout would distort what follows.
        self.norms_training: Calls = [(norm, functools.partial(_training_call, norm)) for norm in self.norms]

    def noted(self, values: dict[int, Any], x: Any) -> tuple[list[np.ndarray], Notes]:
        """The base's outputs, and what its layers at the sites put out: at as many of them as can be looked into."""
        before = self.sites, self._whole_layers
        while True:
            try:
                return self.base.noted(values, x, self.sites)
            except Exception:
                if not self.sites:
                    self.sites, self._whole_layers = before  # it was not for them
                    raise
                self.look_less_deep()

    def look_less_deep(self) -> None:
        """Compares whole composite layers; then no layers. Tensors do not get out of a loop of the user's own, say."""
        self.sites = () if self._whole_layers else tuple(find_sites(self._map, whole_layers=True))
        self._whole_layers = True


def _training_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return type(layer).call(layer, *args, **{**kwargs, "training": True})


def _is_batch_norm(layer: Any) -> bool:
    """Whether it has statistics that a batch can set: built, not frozen (frozen ones never train), with momentum."""
    return isinstance(layer, keras.layers.BatchNormalization) and layer.built and layer.trainable and layer.momentum < 1


def _layer_norms(weights_map: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """Norms over a widened last axis: the motivated layer, the base's, and where the base's channels are."""
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
    """A layer norm's call that normalises the base's channels as the base does and silences the rest."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        size = x.shape[-1]
        y = inner.call(ops.take(x, chosen.astype("int32"), axis=-1), *args, **kwargs)
        scatter = np.zeros((len(chosen), size), "float32")
        scatter[np.arange(len(chosen)), chosen] = 1
        return ops.matmul(y, ops.cast(scatter, y.dtype))

    return call
