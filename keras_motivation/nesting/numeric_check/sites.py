"""The layers at which two models are compared: layers of the base, with their partners in the motivated model."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.nesting.matching.names import own_variables
from keras_motivation.nesting.placement import positions

TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
BY_CHANNEL = (keras.layers.Embedding, keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
# These call their sublayers in a loop, or for many steps at once. Tensors cannot be taken out of there.
LOOPING = (keras.layers.RNN, keras.layers.TimeDistributed, keras.layers.Bidirectional)


@dataclass(eq=False)
class Site:
    """A layer of the base and its partner.

    Attributes:
        inner: The layer of the base.
        outer: The layer of the motivated model.
        channels: Positions of the base's entries, by axis of the output, counted from its end. On other axes, the
            base's entries are the first ones.
    """

    inner: Any
    outer: Any
    channels: dict[int, np.ndarray]


def find_sites(weights_map: Any, whole_layers: bool = False) -> list[Site]:
    """The pairs of layers that are compared.

    Args:
        weights_map: The `WeightsMap`.
        whole_layers: Compare the layers of (nested) models as a whole, not the sublayers of composite layers.

    Returns:
        Pairs of layers with mapped weights, without batch norms: these act on each channel, and the next layer shows
        their effect.
    """
    models = weights_map.base, weights_map.motivated
    owners = [_owners(model, whole_layers) for model in models]
    found: dict[int, tuple[Any, list[Any], set[int]]] = {}
    inside: dict[int, set[int]] = {}
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        inner, outer = owners[0].get(id(entry.base)), owners[1].get(id(entry.motivated))
        if inner is None or outer is None:
            continue
        _, entries, partners = found.setdefault(id(inner), (inner, [], set()))
        entries.append((entry, placement, outer))
        partners.add(id(outer))
        inside.setdefault(id(outer), set()).add(id(inner))
    sites = []
    for inner, entries, partners in found.values():
        outer = entries[0][2]
        if len(partners) > 1 or len(inside[id(outer)]) > 1 or isinstance(inner, keras.layers.BatchNormalization):
            continue
        known = weights_map.result_places.get(id(inner))
        prefix = all(placement.prefix for _, placement, _ in entries)
        channels: dict[int, np.ndarray] | None = {} if prefix else _channels(inner, [entry for entry, *_ in entries])
        if channels is not None or known is not None:
            sites.append(Site(inner, outer, (channels or {}) | (known or {})))
    return sites


def _owners(model: Any, whole_layers: bool) -> dict[int, Any]:
    """For each variable, by id, the layer in which it is compared."""
    found: dict[int, Any] = {}

    def visit(layer: Any, is_model: bool) -> None:
        if isinstance(layer, LOOPING) or (whole_layers and not is_model):
            for variable in layer.variables:
                found.setdefault(id(variable), layer)
            return
        if layer is not model:
            for variable in own_variables(layer):
                found.setdefault(id(variable), layer)
        for sublayer in _keras.direct_sublayers(layer):
            visit(sublayer, isinstance(sublayer, keras.Model))

    visit(model, True)
    return found


def _channels(layer: Any, entries: list[Any]) -> dict[int, np.ndarray] | None:
    """The positions of selected channels in the layer's output; None if they are not known."""
    if isinstance(layer, keras.layers.Bidirectional):
        return _both_directions(layer, entries)
    chosen = {entry.base.name: positions(entry.index, entry.motivated.shape) for entry in entries}
    if isinstance(layer, keras.layers.RNN):
        return {-1: chosen["recurrent_kernel"][0]} if "recurrent_kernel" in chosen else None
    if isinstance(layer, keras.layers.EinsumDense):
        kernel, output = layer.equation.split(",")[1].split("->")
        axes = dict(zip(kernel, chosen["kernel"]))
        return {i - len(output): axes[letter] for i, letter in enumerate(output) if letter in axes}
    axis = -1
    if getattr(layer, "data_format", None) == "channels_first":
        axis = -1 - layer.rank if hasattr(layer, "rank") else 1 - len(layer.output.shape)
    for name in ("bias", "gamma", "scale", "beta"):
        if name in chosen and len(chosen[name]) == 1:
            return {axis: chosen[name][0]}
    if "embeddings" in chosen:
        return {-1: chosen["embeddings"][-1]}
    if "pointwise_kernel" in chosen:
        return {axis: chosen["pointwise_kernel"][-1]}
    if isinstance(layer, BY_CHANNEL) or "kernel" not in chosen:
        return None
    return {axis: chosen["kernel"][-2 if isinstance(layer, TRANSPOSED) else -1]}


def _both_directions(layer: Any, entries: list[Any]) -> dict[int, np.ndarray] | None:
    """Like `_channels`, for a layer that joins, adds or lists the results of two layers."""
    kernels = [entry for entry in entries if entry.base.name == "recurrent_kernel"]
    if len(kernels) != 2:
        return None
    first, second = (positions(entry.index, entry.motivated.shape)[0] for entry in kernels)
    if layer.merge_mode == "concat":
        return {-1: np.concatenate([first, kernels[0].motivated.shape[0] + second])}
    return {-1: first} if np.array_equal(first, second) else None
