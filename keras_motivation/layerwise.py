"""Layer by layer: what a layer of the motivated model makes of the very inputs that its partner in the base had.

Rounding grows from layer to layer, to hundredths through the 800 of EfficientNet-B7, and a large residual stream hides
a wrong branch. So each layer is judged by itself: it is compared with what its partner put out and passes on the
partner's values. What is left is the rounding of one layer.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.assembly import Placement, positions
from keras_motivation.matching import own_variables

Notes = dict[tuple[int, int, int], Any]  # by number of the site, call, and output: layers may have several
LEAST_VARIATION = 0.01  # share of an output's size below which its variation is too near to rounding to measure by
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
BY_CHANNEL = (keras.layers.Embedding, keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
# They call what they hold inside of a loop, or for many steps at once: a tensor must not get out of there.
LOOPING = (keras.layers.RNN, keras.layers.TimeDistributed)


@dataclass(eq=False)
class Site:
    """A layer of the base and its partner.

    Attributes:
        inner: The base's layer.
        outer: The motivated model's.
        channels: By axis of the output, counted from its end, where the base's entries stand; else they are the first.
    """

    inner: Any
    outer: Any
    channels: dict[int, np.ndarray]


def find_sites(weights_map: Any, whole_layers: bool = False) -> list[Site]:
    """The places at which both models are compared.

    Args:
        weights_map: The `WeightsMap`.
        whole_layers: Take layers of (nested) models as they are instead of looking into composite ones.

    Returns:
        Pairs of layers that hold mapped weights. Batch norms are left out: they work by channel and what they do shows
        in the next layer.
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
        prefix = all(placement.prefix for _, placement, _ in entries)
        channels: dict[int, np.ndarray] | None = {} if prefix else _channels(inner, [entry for entry, *_ in entries])
        if channels is not None:
            sites.append(Site(inner, outer, channels))
    return sites


def _owners(model: Any, whole_layers: bool) -> dict[int, Any]:
    """For each variable the layer that stands for it, by id."""
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
    """Where the base's channels are chosen ones: their place in the layer's output. None if it is not known."""
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
    if isinstance(layer, BY_CHANNEL) or "kernel" not in chosen:
        return None
    return {axis: chosen["kernel"][-2 if isinstance(layer, TRANSPOSED) else -1]}


def noting(sites: Sequence[Site], notes: Notes) -> list[tuple[Any, Callable[[Any], Any]]]:
    """For each of the base's layers a wrapper of its call that adds what the call puts out to `notes`."""

    def note(number: int, key: tuple[int, int], leaf: Any) -> Any:
        notes[number, *key] = unshared(leaf)
        return leaf

    def wrapper(number: int) -> Callable[[Any], Any]:
        return lambda call: _followed(call, functools.partial(note, number))

    return [(site.inner, wrapper(number)) for number, site in enumerate(sites)]


def forcing(sites: Sequence[Site], notes: Notes, errors: Notes) -> list[tuple[Any, Callable[[Any], Any]]]:
    """For each of the motivated model's layers a wrapper of its call that passes on the base's values in their place.

    Args:
        sites: The sites of the `notes`.
        notes: What the base's layers put out.
        errors: Takes how far each call's own values are from these, as a share of how much the base's vary.
    """

    def wrapper(number: int, site: Site) -> Callable[[Any], Any]:
        def force(key: tuple[int, int], leaf: Any) -> Any:
            expected = notes.get((number, *key))
            if expected is None:
                errors[number, *key] = ops.convert_to_tensor(np.nan)  # the base makes no such call
                return leaf
            placement = _placement(site, tuple(expected.shape), tuple(leaf.shape))
            if placement is None:
                errors[number, *key] = ops.convert_to_tensor(0.0)  # they cannot be compared
                return leaf
            errors[number, *key] = _difference(placement.take(leaf), expected)
            forced = placement.place(unshared(ops.cast(expected, leaf.dtype)), leaf)
            _keras.copy_mask(leaf, forced)
            return forced

        return lambda call: _followed(call, force)

    return [(site.outer, wrapper(number, site)) for number, site in enumerate(sites)]


def _followed(call: Any, see: Callable[[tuple[int, int], Any], Any]) -> Callable[..., Any]:
    """A call whose floating-point results go through `see`, with the number of the call and of the result."""
    calls = 0

    def followed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        result = call(*args, **kwargs)
        leaves = keras.tree.flatten(result)
        seen = [see((calls, i), leaf) if _is_number(leaf) else leaf for i, leaf in enumerate(leaves)]
        calls += 1
        return keras.tree.pack_sequence_as(result, seen)

    return followed


def unshared(leaf: Any) -> Any:
    """A tensor that the next layer cannot change: under PyTorch, `x += y` in a layer writes into what it was given."""
    return ops.copy(leaf) if keras.backend.backend() == "torch" else leaf


def _is_number(leaf: Any) -> bool:
    return ops.is_tensor(leaf) and "float" in keras.backend.standardize_dtype(leaf.dtype) and all(leaf.shape)


def _placement(site: Site, inner: tuple[int, ...], outer: tuple[int, ...]) -> Placement | None:
    """Where the base's output stands in the motivated one; None if that cannot be."""
    if len(inner) != len(outer) or any(i > o for i, o in zip(inner, outer)):
        return None
    index: list[Any] = [slice(0, size) for size in inner]
    for axis, chosen in site.channels.items():
        if -axis > len(inner) or len(chosen) != inner[axis] or max(chosen, default=0) >= outer[axis]:
            return None
        index[axis] = chosen
    return Placement(tuple(index), outer)


def _difference(found: Any, expected: Any) -> Any:
    """The largest difference, as a share of how much `expected` varies by sample, or of a little of its size."""
    dtype = "float64" if keras.backend.standardize_dtype(expected.dtype) == "float64" else "float32"
    found, expected = ops.cast(found, dtype), ops.cast(expected, dtype)
    size = ops.max(ops.abs(expected))
    varies = ops.max(ops.abs(expected - ops.mean(expected, axis=0))) if len(expected.shape) else ops.zeros_like(size)
    scale = ops.maximum(varies, LEAST_VARIATION * size + 1e-30)
    return ops.max(ops.where(ops.equal(found, expected), ops.zeros_like(found), ops.abs(found - expected))) / scale
