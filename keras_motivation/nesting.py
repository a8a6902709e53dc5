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

# What makes a layer another function of the same weights. `_key_dim` is the head size of Keras's attention layers.
MUST_AGREE = (
    *("kernel_size", "strides", "dilation_rate", "groups", "depth_multiplier"),
    *("_key_dim", "head_dim", "patch_size", "window_size", "input_size"),
)
GATED = ("LSTMCell", "GRUCell", "ConvLSTMCell")


def find_traps(layers: list[tuple[Any, Any]]) -> list[str]:
    """Where a map by prefixes picks wrong entries.

    Args:
        layers: Corresponding layers with weights, `(base, motivated)`, composite ones and their sublayers.

    Returns:
        One sentence for each trap, naming the layers; empty if none was found. Layers are looked into one by one; the
        way between them is followed in functional and Sequential models, not inside subclassed ones.
    """
    problems = [problem for inner, outer in layers for problem in _within(inner, outer)]
    seen: set[tuple[int, int]] = set()
    for inner, outer in layers:
        for here, there in zip(_keras.input_tensors(inner), _keras.input_tensors(outer)):
            problems += _upstream(here, there, inner, seen)
    return problems


def _within(inner: Any, outer: Any) -> Iterator[str]:
    """Traps inside one layer."""
    for attribute in MUST_AGREE:
        found = getattr(inner, attribute, None), getattr(outer, attribute, None)
        ours, theirs = (tuple(v) if isinstance(v, list) else v for v in found)  # JSON makes lists of tuples
        if ours != theirs and not isinstance(inner, keras.layers.GroupNormalization):
            name = f"layer '{inner.path or inner.name}'"
            yield f"{name} has {attribute.strip('_')}={ours} in the base and {theirs} in the other"
    grew = [tuple(v.shape) != tuple(w.shape) for v, w in zip(inner.weights, outer.weights)]
    if not any(grew):
        return
    if type(inner).__name__ in GATED and _width(inner) != _width(outer):
        yield f"layer '{inner.path}' keeps its gates side by side in one kernel, so a wider one holds them elsewhere"
    if isinstance(inner, keras.layers.GroupQueryAttention):
        ratios = [layer.num_query_heads / layer.num_key_value_heads for layer in (inner, outer)]
        if ratios[0] != ratios[1]:
            yield f"layer '{inner.path}' has {ratios[0]:g} query heads for each key head in the base and {ratios[1]:g}"
    if isinstance(inner, keras.layers.GroupNormalization):
        sizes = [layer.weights[0].shape[0] / layer.groups for layer in (inner, outer)]
        if sizes[0] != sizes[1]:
            yield f"layer '{inner.path}' normalises groups of {sizes[0]:g} channels in the base and {sizes[1]:g} here"
    for ours, theirs in zip(inner.weights, outer.weights):
        if _is_grid(ours) and tuple(ours.shape)[:-1] != tuple(theirs.shape)[:-1]:
            shapes = f"{tuple(ours.shape)} in the base and {tuple(theirs.shape)} here"
            yield f"'{ours.path}' is a grid of positions, {shapes}"
    outputs = [tuple(layer.weights[0].shape)[-1] for layer in (inner, outer)]
    if "qkv" in inner.name and outputs[0] != outputs[1]:
        yield f"layer '{inner.path}' keeps query, key and value side by side in one kernel"


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
    if isinstance(ours, (keras.layers.Flatten, keras.layers.Reshape)):
        for inner, outer in inputs:
            if _reordered(inner.shape[1:], outer.shape[1:]):
                yield (
                    f"'{ours.name}' turns {inner.shape[1:]} of the base and {outer.shape[1:]} of the motivated model "
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


def _reordered(inner: Any, outer: Any) -> bool:
    """Whether flattening in row-major order moves the entries of `inner` in `outer`: an axis grew, not the first."""
    return any(ours != theirs and np.prod(inner[:axis]) > 1 for axis, (ours, theirs) in enumerate(zip(inner, outer)))
