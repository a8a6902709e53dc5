"""What the layers of a model tell about its inputs: the numbers that it expects, the ids that it can look up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras

# Layers that do not change ids, so that the next layer looks up the same ids. (An offset, for example, changes them.)
PASSED_ON = ("InputLayer", "Identity", "Dropout", "Reshape", "Flatten", "Cast", "ExpandDims", "Squeeze")
PIXELS = (1 / 300, 1 / 100)  # scales that map pixels up to 255 to about 1


@dataclass(frozen=True)
class Hint:
    """What an input should look like.

    Attributes:
        ids: The number of ids: integers are from 0 to this number, exclusive. None if no table looks them up.
        only_ids: Whether a table receives the input directly, so that its floating-point numbers are ids, too.
        mean: Mean of the data; broadcasts with a batch. None if no layer normalises the input.
        deviation: Standard deviation of the data, like `mean`.
        pixels: Whether the input has numbers from 0 to 255.
    """

    ids: int | None = None
    only_ids: bool = False
    mean: Any = None
    deviation: Any = None
    pixels: bool = False


def input_hints(model: Any) -> list[Hint]:
    """A hint for each input of a model, in the model's order.

    In a functional model, the first layers that receive an input show what it should be. In a subclassed model, the
    tables are known, but not which input each receives. So the hint has the ids of the smallest table, which all have.
    """
    graph = _keras.graph(model)
    if graph is None:
        return [Hint(ids=_smallest_table([model]))] * len(keras.tree.flatten(_keras.inputs_struct(model)))
    return [_hint(list(_takers(graph, tensor))) for tensor in keras.tree.flatten(_keras.inputs_struct(model))]


def _takers(graph: Any, tensor: Any) -> Iterator[Any]:
    """The first layers that use an input of a functional graph, also in nested models. `PASSED_ON` are skipped."""
    ids = {id(tensor)}
    for operation, _, _, inputs, outputs in _keras.graph_calls(graph):
        taken = [i for i, source in enumerate(inputs) if id(source) in ids]
        if not taken:
            continue
        inner = _keras.graph(operation) if isinstance(operation, keras.Model) else None
        if inner is not None:
            inner_inputs = keras.tree.flatten(_keras.inputs_struct(operation))
            if len(inner_inputs) == len(inputs):
                for i in taken:
                    yield from _takers(inner, inner_inputs[i])
        elif type(operation).__name__ in PASSED_ON:
            ids.update(id(output) for output in outputs)
        elif len(inputs) == 1 or isinstance(operation, keras.layers.Embedding):
            yield operation  # with several inputs, it is not known which one a table inside the layer receives


def _hint(takers: list[Any]) -> Hint:
    for layer in takers:
        if isinstance(layer, keras.layers.Normalization) and not layer.invert and layer.mean is not None:
            mean, variance = (ops.convert_to_numpy(value) for value in (layer.mean, layer.variance))
            return Hint(mean=mean, deviation=np.sqrt(np.maximum(variance, 0)))
        if isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0 and layer.scale:
            if PIXELS[0] <= abs(layer.scale) <= PIXELS[1]:
                return Hint(pixels=True)
            return Hint(mean=-np.asarray(layer.offset) / layer.scale, deviation=np.asarray(1 / abs(layer.scale)))
    only_ids = any(isinstance(layer, keras.layers.Embedding) for layer in takers)
    return Hint(ids=_smallest_table(takers), only_ids=only_ids)


def _smallest_table(holders: list[Any]) -> int | None:
    tables = [layer for holder in holders if hasattr(holder, "_flatten_layers") for layer in _keras.all_layers(holder)]
    sizes = [int(layer.input_dim) for layer in tables if isinstance(layer, keras.layers.Embedding)]
    return min(sizes) if sizes else None
