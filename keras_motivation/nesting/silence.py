"""Makes the extension start without effect: sets those of its weights to zero that must be zero, and no others.

There are two kinds. In a widened kernel, these are the weights from extension channels into base channels. In a new
block, these are the last weights before its result is added to the base's: the scale and offset of a last norm, or a
projection. All other weights stay random, so that the zero weights get gradients. The graph of a functional model shows
where a block ends. Inside composite layers and subclassed models, the end is found by trials. The probe checks both.
"""

import re
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.matching.names import layers_with_weights, own_variables
from keras_motivation.nesting.numeric_check.probe import Probe
from keras_motivation.nesting.numeric_check.report import warn
from keras_motivation.nesting.numeric_check.torch_modules import output_axis
from keras_motivation.nesting.placement import positions
from keras_motivation.nesting.residual_ends import find_block_ends, status

Zeros = dict[int, Any]
Groups = list[list[Any]]
NOT_FOUND = (
    "no set of its weights was found that silences it and lets gradients through; blocks that end in a ReLU have none"
)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
MOST_TRIALS = 100  # in one search; each runs one batch of the motivated model


def silence(weights_map: Any) -> bool:
    """Sets the motivated model's extension so that it has no effect at the start. Warns if this is not possible.

    Args:
        weights_map: The `WeightsMap` of the pair.

    Returns:
        Whether the extension is silent now. If not, it has not changed.
    """
    if weights_map.verdict is not None and not weights_map.verdict.nested:
        return False  # the check has already warned
    try:
        zeros, reason = find_zeros(weights_map, weights_map.probe())
    except Exception as error:
        zeros, reason = None, f"the models do not run on generated inputs ({type(error).__name__}: {error})"
    if zeros is None:
        warn(
            f"The extension of '{weights_map.motivated.name}' starts as it was built, not silent: {reason}. Pass "
            '`extension="random"` if that is what you want.'
        )
        return False
    for variable in weights_map.motivated.variables:
        mask = zeros.get(id(variable))
        if mask is not None:
            # On its device: a process with only a part of a distributed weight could not fetch it.
            variable.assign(ops.where(mask, ops.zeros_like(variable.value), variable.value))
    return True


def find_zeros(weights_map: Any, probe: Probe) -> tuple[Zeros | None, str]:
    """The weights that must be zero for the extension to have no effect.

    Args:
        weights_map: The `WeightsMap`.
        probe: The probe of the map.

    Returns:
        Masks of entries by the id of a motivated variable; or `None` and the reason, if the extension cannot be
        silenced.
    """
    if weights_map.verdict is None and not (verdict := probe.verdict()).nested:
        return None, f"even with all of it at zero, the outputs are not the base's (error {verdict.error:.2g})"
    crossings = _crossings(weights_map)
    tails, hidden = find_block_ends(weights_map.motivated, lambda layer: status(weights_map, layer))
    zeros = crossings | {id(v): True for layer in tails for v in _last_weights(layer)}
    ends = [v for layer in tails for v in _last_weights(layer)]
    silent, learns = probe.is_silent_and_learns(zeros | _all(hidden), ends)
    if not (silent and learns) and tails:
        # The ends in the graph are not suitable, for example before a ReLU or if two ends are multiplied. Try all new
        # layers.
        new = [layer for layer, _ in layers_with_weights(weights_map.motivated) if status(weights_map, layer) == "new"]
        zeros, hidden = crossings, new
    found = _search(hidden, zeros, probe) if hidden else zeros if silent else None
    if found is None:
        return None, NOT_FOUND
    frozen = [v.path for v in weights_map.motivated.variables if found.get(id(v)) is True and not v.trainable]
    if frozen:
        return None, f"weights that would have to be zero are frozen and would stay so ({', '.join(frozen[:3])})"
    return found, ""


def _crossings(weights_map: Any) -> Zeros:
    """In each widened kernel, the entries from extension channels into base channels."""
    owners = {id(v): layer for layer in _keras.all_layers(weights_map.motivated) for v in own_variables(layer)}
    found = {}
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        shape = tuple(entry.motivated.shape)
        outgoing = _output_axes(owners.get(id(entry.motivated)), entry.motivated)
        if placement.whole or outgoing is None:
            continue
        into_base, from_base = np.ones((1,) * len(shape), bool), np.ones((1,) * len(shape), bool)
        for axis, chosen in enumerate(positions(entry.index, shape)):
            inside = np.zeros(shape[axis], bool)
            inside[chosen] = True
            inside = inside.reshape([-1 if a == axis else 1 for a in range(len(shape))])
            if axis in outgoing:
                into_base = into_base & inside
            else:
                from_base = from_base & inside
        found[id(entry.motivated)] = np.broadcast_to(into_base & ~from_base, shape)
    return found


def _output_axes(layer: Any, variable: Any) -> set[int] | None:
    """The axes of a kernel with output channels; it sums over the others. None if it acts on each channel."""
    rank = len(variable.shape)
    if rank < 2 or variable.name in ("bias", "gamma", "beta") or "depthwise" in variable.name:
        return None
    if isinstance(layer, keras.layers.Embedding | keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        return None
    if isinstance(layer, keras.layers.TorchModuleWrapper):
        return {output_axis(layer, variable)}
    if isinstance(layer, keras.layers.EinsumDense) and variable.name == "kernel":
        kernel, output = layer.equation.split(",")[1].split("->")
        return {axis for axis, letter in enumerate(kernel) if letter in output}
    return {rank - 2} if isinstance(layer, TRANSPOSED) else {rank - 1}


def _last_weights(layer: Any) -> list[Any]:
    """The weights that make a layer's result zero: its last kernel with the bias, or a norm's scale and offset."""
    own = _weights(layer)
    kernels = [i for i, v in enumerate(own) if len(v.shape) > 1]
    return own[kernels[-1] if kernels else 0 :]


def _weights(layer: Any) -> list[Any]:
    buffers = {id(v) for v in _keras.buffers(layer)}
    return [v for v in layer.weights if id(v) not in buffers]


def _all(layers: list[Any]) -> Zeros:
    return {id(v): True for layer in layers for v in _weights(layer)}


def _alike(layers: list[Any]) -> Groups:
    """The weights of new layers in order. Those at the same place of equal blocks are in one group, tried together."""
    groups: dict[Any, list[Any]] = {}
    for layer in layers:
        structure = tuple((v.name, len(v.shape)) for v in _weights(layer))
        for place, variable in enumerate(_weights(layer)):
            # For a single layer in a block, the name without its numbers shows the place.
            place_in_block = place if _keras.direct_sublayers(layer) else (place, re.sub(r"\d+", "", layer.name))
            groups.setdefault((type(layer), structure, place_in_block), []).append(variable)
    return list(groups.values())


def _search(layers: list[Any], zeros: Zeros, probe: Probe) -> Zeros | None:
    """Tries which weights of new layers need not be zero, forwards and backwards; equal blocks are tried together."""
    alike = _alike(layers)
    for groups in (alike, alike[::-1]):
        found = _released(groups, zeros, probe)
        if found is not None and probe.learns(found, [v for group in groups for v in group if id(v) in found]):
            return found
    return None


def _released(groups: Groups, zeros: Zeros, probe: Probe) -> Zeros | None:
    """Starts with all groups at zero. Releases, in order, each group that does not change the outputs; halves first."""
    kept = {id(v): True for group in groups for v in group}
    if not probe.is_silent(zeros | kept):
        return None
    trials = 0
    parts = [groups]
    while parts:
        part = parts.pop(0)
        ids = {id(v) for group in part for v in group}
        trials += 1
        if trials > MOST_TRIALS:
            return None
        if probe.is_silent(zeros | {key: True for key in kept if key not in ids}):
            kept = {key: True for key in kept if key not in ids}
        elif len(part) > 1:
            parts[:0] = [part[: len(part) // 2], part[len(part) // 2 :]]
    return zeros | kept
