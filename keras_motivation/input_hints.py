"""What a model itself says of its inputs: which numbers it expects, which ids it can look up."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras

# What leaves ids as they are, so that what comes behind looks up the same. (More would be wrong: an offset, say.)
PASSED_ON = ("InputLayer", "Identity", "Dropout", "Reshape", "Flatten", "Cast", "ExpandDims", "Squeeze")
PIXELS = (1 / 300, 1 / 100)  # scales that bring pixels of up to 255 to about 1


@dataclass(frozen=True)
class Hint:
    """What an input should be like.

    Attributes:
        ids: How many there are: integers are from 0 to that number, exclusive. None if nothing looks them up.
        only_ids: Whether a table takes the input itself, so that numbers in it are ids too.
        mean: Of the data, to broadcast with a batch of them. None if nothing normalises the input.
        deviation: Likewise.
        pixels: Whether they are numbers from 0 to 255.
    """

    ids: int | None = None
    only_ids: bool = False
    mean: Any = None
    deviation: Any = None
    pixels: bool = False


def input_hints(model: Any) -> list[Hint]:
    """A hint for each of a model's inputs, in the order in which it lists them.

    Functional models say it by the layers that take an input first. Of a subclassed model the tables are known that it
    holds, but not which of them an input leads into: of the smallest, any has the ids.
    """
    graph = _keras.graph(model)
    if graph is None:
        return [Hint(ids=_smallest_table([model]))] * len(keras.tree.flatten(_keras.inputs_struct(model)))
    return [_hint(list(_takers(graph, tensor))) for tensor in keras.tree.flatten(_keras.inputs_struct(model))]


def _takers(graph: Any, tensor: Any) -> Iterator[Any]:
    """The layers that take an input of a functional graph, also inside of nested models and past what passes it on."""
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
            yield operation  # of several inputs, who knows which one a table inside of the layer takes


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
