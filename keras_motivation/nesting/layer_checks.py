"""Differences that names and shapes do not show: layers that compute another function of the same weights.

The weights of such layers fit by name and shape. But the base that would be trained is not inside the motivated model.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation.nesting.matching.names import Pairs, own_variables

# If one of these differs, layers compute different functions of the same weights. `_key_dim` is the head size of
# Keras's attention layers.
MUST_AGREE = (
    *("kernel_size", "strides", "dilation_rate", "groups", "depth_multiplier"),
    *("_key_dim", "head_dim", "patch_size", "window_size", "input_size"),
)
# The number of their groups may grow, but not the size of a group.
CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
BY_GROUP = (keras.layers.GroupNormalization, *CONVOLUTIONS)
RESHAPING = (keras.layers.Flatten, keras.layers.Reshape)
ANY_SIZE = 3
GATED = ("LSTMCell", "GRUCell", "ConvLSTMCell")


def find_traps(layers: Pairs, variables: Pairs) -> list[str]:
    """Finds corresponding layers that do not compute the same function of the mapped weights.

    Args:
        layers: Corresponding layers with weights, `(base, motivated)`: composite layers and their sublayers.
        variables: Corresponding variables, `(base, motivated)`. Composite layers may also have variables of new blocks.

    Returns:
        One sentence for each problem, with the names of the layers; empty if there is none.
    """
    partners = {id(inner): outer for inner, outer in variables}
    return [problem for inner, outer in layers for problem in _within(inner, outer, partners)]


def _within(inner: Any, outer: Any, partners: dict[int, Any]) -> Iterator[str]:
    """Problems of one layer. `partners` has the partner of each base variable, by id."""
    for attribute in MUST_AGREE:
        found = getattr(inner, attribute, None), getattr(outer, attribute, None)
        ours, theirs = (tuple(v) if isinstance(v, list) else v for v in found)  # JSON turns tuples into lists
        if ours != theirs and not (attribute == "groups" and isinstance(inner, BY_GROUP)):
            name = f"layer '{inner.path or inner.name}'"
            yield f"{name} has {attribute.strip('_')}={ours} in the base and {theirs} in the other"
    if isinstance(inner, keras.layers.GroupNormalization) and inner.weights and outer.weights:
        sizes = [f"{layer.weights[0].shape[0] / layer.groups:g}" for layer in (inner, outer)]
        if sizes[0] != sizes[1]:
            yield f"layer '{inner.path}' normalises groups of {sizes[0]} channels in the base and {sizes[1]} here"
    if isinstance(inner, CONVOLUTIONS) and inner.groups > outer.groups:
        yield f"layer '{inner.path}' convolves {inner.groups} groups in the base and {outer.groups} here"
    weights = [(v, partners[id(v)]) for v in inner.weights if id(v) in partners]
    if all(tuple(v.shape) == tuple(w.shape) for v, w in weights):
        return
    if isinstance(inner, keras.layers.GroupQueryAttention):
        ratios = [layer.num_query_heads / layer.num_key_value_heads for layer in (inner, outer)]
        if ratios[0] != ratios[1]:
            yield f"layer '{inner.path}' has {ratios[0]:g} query heads for each key head in the base and {ratios[1]:g}"
    own = {id(v) for v in own_variables(inner)}
    for ours, theirs in weights:
        if id(ours) in own and _is_grid(ours) and tuple(ours.shape)[:-1] != tuple(theirs.shape)[:-1]:
            shapes = f"{tuple(ours.shape)} in the base and {tuple(theirs.shape)} here"
            yield f"'{ours.path}' is a grid of positions, {shapes}"


def _is_grid(variable: Any) -> bool:
    """Whether a table has positions in two dimensions, or relative to the middle. Those of a sequence start at 0."""
    return "pos" in variable.name and (len(variable.shape) > 2 or variable.name.startswith("rel"))
