"""How an extension starts without effect: which of its weights must be zero, and no more than these.

Two kinds. In a widened kernel, the weights that lead from extension channels into base channels. In a new block, the
last weights before its result is added to what the base computes: the scale and offset of a last norm, or a projection.
Everything else stays random, so that the gradient of what is zero is not. Functional models show in their graph where a
block ends; inside composite layers and subclassed models it is found by trial. The probe has the last word on both.
"""

import re
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.assembly import positions
from keras_motivation.block_ends import find_block_ends, status
from keras_motivation.matching import layers_with_weights, own_variables
from keras_motivation.probe import Probe
from keras_motivation.torch_modules import output_axis
from keras_motivation.verification import warn

Zeros = dict[int, Any]
Groups = list[list[Any]]
NOT_FOUND = (
    "no set of its weights was found that silences it and lets gradients through; blocks that end in a ReLU have none"
)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
MOST_TRIALS = 100  # of one search, each a batch of the motivated model


def silence(weights_map: Any) -> bool:
    """Sets the motivated model's extension so that it has no effect at the start. Warns if that cannot be done.

    Args:
        weights_map: The `WeightsMap` of the pair.

    Returns:
        Whether the extension is silent now; if not, it is as before.
    """
    if weights_map.verdict is not None and not weights_map.verdict.nested:
        return False  # the check warned already
    try:
        zeros, reason = find_zeros(weights_map, weights_map.probe())
    except Exception as error:
        zeros, reason = None, f"the models do not run on made-up inputs ({type(error).__name__}: {error})"
    if zeros is None:
        warn(
            f"The extension of '{weights_map.motivated.name}' starts as it was built, not silent: {reason}. Pass "
            '`extension="random"` if that is what you want.'
        )
        return False
    for variable in weights_map.motivated.variables:
        mask = zeros.get(id(variable))
        if mask is not None:
            # Where it is: a process that holds a part of a distributed weight only could not fetch it.
            variable.assign(ops.where(mask, ops.zeros_like(variable.value), variable.value))
    return True


def find_zeros(weights_map: Any, probe: Probe) -> tuple[Zeros | None, str]:
    """The weights that must be zero for the extension to have no effect.

    Args:
        weights_map: The `WeightsMap`.
        probe: Its probe.

    Returns:
        Masks of entries by the id of a motivated variable; or `None` if the extension cannot be silenced, and why.
    """
    if weights_map.verdict is None and not (verdict := probe.verdict()).nested:
        return None, f"even with all of it at zero, the outputs are not the base's (error {verdict.error:.2g})"
    crossings = _crossings(weights_map)
    tails, hidden = find_block_ends(weights_map.motivated, lambda layer: status(weights_map, layer))
    zeros = crossings | {id(v): True for layer in tails for v in _last_weights(layer)}
    ends = [v for layer in tails for v in _last_weights(layer)]
    silent = probe.is_silent(zeros | _all(hidden))
    if tails and not (silent and probe.learns(zeros | _all(hidden), ends)):
        # What the graph shows does not do, as behind a ReLU or where two ends are multiplied. Try whatever is new.
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
    """The axes of a kernel that make output channels; the others are summed over. None if it works by channel."""
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
    """The weights that make a layer's result zero: its last kernel with the bias, or scale and offset of a norm."""
    own = _weights(layer)
    kernels = [i for i, v in enumerate(own) if len(v.shape) > 1]
    return own[kernels[-1] if kernels else 0 :]


def _weights(layer: Any) -> list[Any]:
    buffers = {id(v) for v in _keras.buffers(layer)}
    return [v for v in layer.weights if id(v) not in buffers]


def _all(layers: list[Any]) -> Zeros:
    return {id(v): True for layer in layers for v in _weights(layer)}


def _alike(layers: list[Any]) -> Groups:
    """The weights of new layers in order; those at the same place of equal blocks together, to be tried as one."""
    groups: dict[Any, list[Any]] = {}
    for layer in layers:
        structure = tuple((v.name, len(v.shape)) for v in _weights(layer))
        for place, variable in enumerate(_weights(layer)):
            # Of single layers in a row of blocks, the name tells by all but the numbers which place it is.
            place_in_block = place if _keras.direct_sublayers(layer) else (place, re.sub(r"\d+", "", layer.name))
            groups.setdefault((type(layer), structure, place_in_block), []).append(variable)
    return list(groups.values())


def _search(layers: list[Any], zeros: Zeros, probe: Probe) -> Zeros | None:
    """Tries which weights of new layers need not be zero, in order and in reverse, equal blocks as one."""
    alike = _alike(layers)
    for groups in (alike, alike[::-1]):
        found = _released(groups, zeros, probe)
        if found is not None and probe.learns(found, [v for group in groups for v in group if id(v) in found]):
            return found
    return None


def _released(groups: Groups, zeros: Zeros, probe: Probe) -> Zeros | None:
    """Starts with all groups at zero and lets go of each, in order, that the outputs do not notice; halves first."""
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
