"""Traps that names and shapes cannot see: where the first entries of a motivated weight are not the base's.

A prefix is the right slice only while both models lay out a widened tensor alike. Flattening an image puts its channels
side by side for each pixel; joining tensors moves the later ones; an LSTM keeps four gates in one kernel. All of this
fits by name and shape, and trains a base that is not inside the motivated model.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.matching import Pairs, own_variables

# What makes a layer another function of the same weights. `_key_dim` is the head size of Keras's attention layers.
MUST_AGREE = (
    *("kernel_size", "strides", "dilation_rate", "groups", "depth_multiplier"),
    *("_key_dim", "head_dim", "patch_size", "window_size", "input_size"),
)
# Their groups may grow in number, but not in size.
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
BY_GROUP = (keras.layers.GroupNormalization, *CONVOLUTIONS)
RESHAPING = (keras.layers.Flatten, keras.layers.Reshape)
ANY_SIZE = 3
GATED = ("LSTMCell", "GRUCell", "ConvLSTMCell")


def find_traps(layers: Pairs, variables: Pairs) -> list[str]:
    """Where a map by prefixes picks wrong entries.

    Args:
        layers: Corresponding layers with weights, `(base, motivated)`, composite ones and their sublayers.
        variables: Corresponding variables likewise. Composite layers hold others too, of blocks that are new.

    Returns:
        One sentence for each trap, naming the layers; empty if none was found. Layers are looked into one by one; the
        way between them is followed in functional and Sequential models, not inside subclassed ones.
    """
    partners = {id(inner): outer for inner, outer in variables}
    problems = [problem for inner, outer in layers for problem in _within(inner, outer, partners)]
    seen: set[tuple[int, int]] = set()
    for inner, outer in layers:
        for here, there in zip(_keras.input_tensors(inner), _keras.input_tensors(outer)):
            problems += _upstream(here, there, inner, seen)
    return problems


def _within(inner: Any, outer: Any, partners: dict[int, Any]) -> Iterator[str]:
    """Traps inside one layer, given each base variable's partner by id."""
    for attribute in MUST_AGREE:
        found = getattr(inner, attribute, None), getattr(outer, attribute, None)
        ours, theirs = (tuple(v) if isinstance(v, list) else v for v in found)  # JSON makes lists of tuples
        if ours != theirs and not (attribute == "groups" and isinstance(inner, BY_GROUP)):
            name = f"layer '{inner.path or inner.name}'"
            yield f"{name} has {attribute.strip('_')}={ours} in the base and {theirs} in the other"
    sizes = [_group_sizes(layer) for layer in (inner, outer)]
    if sizes[0] != sizes[1] and (isinstance(inner, keras.layers.GroupNormalization) or inner.groups * outer.groups > 1):
        does = "normalises" if isinstance(inner, keras.layers.GroupNormalization) else "convolves"
        yield f"layer '{inner.path}' {does} groups of {sizes[0]} channels in the base and {sizes[1]} here"
    weights = [(v, partners[id(v)]) for v in inner.weights if id(v) in partners]
    if all(tuple(v.shape) == tuple(w.shape) for v, w in weights):
        return
    if type(inner).__name__ in GATED and _width(inner) != _width(outer):
        yield f"layer '{inner.path}' keeps its gates side by side in one kernel, so a wider one holds them elsewhere"
    if isinstance(inner, keras.layers.GroupQueryAttention):
        ratios = [layer.num_query_heads / layer.num_key_value_heads for layer in (inner, outer)]
        if ratios[0] != ratios[1]:
            yield f"layer '{inner.path}' has {ratios[0]:g} query heads for each key head in the base and {ratios[1]:g}"
    own = {id(v) for v in own_variables(inner)}
    for ours, theirs in weights:
        if id(ours) in own and _is_grid(ours) and tuple(ours.shape)[:-1] != tuple(theirs.shape)[:-1]:
            shapes = f"{tuple(ours.shape)} in the base and {tuple(theirs.shape)} here"
            yield f"'{ours.path}' is a grid of positions, {shapes}"
    first = weights[0]
    if "qkv" in inner.name and len(first[0].shape) and first[0].shape[-1] != first[1].shape[-1]:
        yield f"layer '{inner.path}' keeps query, key and value side by side in one kernel"


def _group_sizes(layer: Any) -> str | None:
    """Channels of one group: what a group norm normalises together; what a convolution takes in and makes."""
    if isinstance(layer, keras.layers.GroupNormalization) and layer.weights:
        return f"{layer.weights[0].shape[0] / layer.groups:g}"
    if isinstance(layer, CONVOLUTIONS):
        return f"{layer.kernel.shape[-2]} to {layer.kernel.shape[-1] // layer.groups}"
    return None


def _is_grid(variable: Any) -> bool:
    """Whether a table of positions has them in two dimensions, or relative to the middle; a sequence's starts at 0."""
    return "pos" in variable.name and (len(variable.shape) > 2 or variable.name.startswith("rel"))


def _width(cell: Any) -> Any:
    return getattr(cell, "units", getattr(cell, "filters", None))


def _upstream(here: Any, there: Any, consumer: Any, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Follows both inputs of a pair of layers up to the next layers with weights."""
    if (id(here), id(there)) in seen:
        return
    seen.add((id(here), id(there)))
    ours, theirs = _keras.producer(here), _keras.producer(there)
    if ours is None or theirs is None or type(ours) is not type(theirs) or getattr(ours, "weights", None):
        return
    inputs = list(zip(_keras.input_tensors(ours), _keras.input_tensors(theirs)))
    if isinstance(ours, RESHAPING):
        first = ours.name
        while all(isinstance(_keras.producer(tensor), RESHAPING) for tensor in inputs[0]):  # in a row, they are one
            first = _keras.producer(inputs[0][0]).name
            inputs = [tuple(_keras.input_tensors(_keras.producer(tensor))[0] for tensor in inputs[0])]
        inner, outer = inputs[0]
        if _reordered(*(tensor.shape[1:] for tensor in (inner, here, outer, there))):
            yield (
                f"'{first}' turns {inner.shape[1:]} of the base and {outer.shape[1:]} of the motivated model "
                f"into the input of '{consumer.path}', where the base's channels no longer come first; use global "
                "pooling instead"
            )
    if isinstance(ours, keras.layers.Concatenate):
        sizes = [[t.shape[layer.axis] for t in _keras.input_tensors(layer)] for layer in (ours, theirs)]
        if len(sizes[0]) != len(sizes[1]) or sizes[0][:-1] != sizes[1][:-1]:
            yield (
                f"'{ours.name}' joins {sizes[0]} channels in the base and {sizes[1]} in the motivated model into the "
                f"input of '{consumer.path}': what follows a part that grew stands elsewhere"
            )
    for inner, outer in inputs:
        yield from _upstream(inner, outer, consumer, seen)


def _reordered(inner: Any, inner_result: Any, outer: Any, outer_result: Any) -> bool:
    """Whether the first entries of a reshaped larger tensor are others than those of the smaller one, reshaped.

    Args:
        inner: Shape of the base's tensor before.
        inner_result: And after.
        outer: Shape of the motivated model's tensor before.
        outer_result: And after.
    """
    if (inner, inner_result) == (outer, outer_result):
        return False
    if len(inner) != len(outer) or len(inner_result) != len(outer_result):
        return True
    # Any number stands for an axis of open size; what an open axis becomes, follows.
    before = [tuple(ANY_SIZE if size is None else size for size in shape) for shape in (inner, outer)]
    after = [tuple(-1 if size is None else size for size in shape) for shape in (inner_result, outer_result)]
    entries = np.arange(np.prod(before[1])).reshape(before[1])
    try:
        expected = entries[_first(before[0])].reshape(after[0])
        found = entries.reshape(after[1])
    except ValueError:  # several open axes: which is which is not known
        return True
    return not np.array_equal(found[_first(expected.shape)], expected)


def _first(shape: Any) -> Any:
    return tuple(slice(0, size) for size in shape)
