"""How an extension starts without effect: which of its weights must be zero, and no more than these.

Two kinds. In a widened kernel, the weights that lead from extension channels into base channels. In a new block, the
last weights before its result is added to what the base computes: the scale and offset of a last norm, or a projection.
Everything else stays random, so that the gradient of what is zero is not. Functional models show in their graph where a
block ends; inside composite layers and subclassed models it is found by trial, with the probe.
"""

import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.assembly import positions
from keras_motivation.block_ends import find_block_ends
from keras_motivation.matching import own_variables
from keras_motivation.probe import Probe

Zeros = dict[int, Any]
NOT_FOUND = "no set of its weights would silence it and let gradients through, as at the end of a block without ReLU"
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


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
        zeros, reason = find_zeros(weights_map, Probe(weights_map)), NOT_FOUND
    except Exception as error:
        zeros, reason = None, f"the models do not run on made-up inputs ({type(error).__name__}: {error})"
    if zeros is None:
        warnings.warn(
            f"The extension of '{weights_map.motivated.name}' starts as it was built, not silent: {reason}. Pass "
            '`extension="random"` if that is what you want.',
            stacklevel=4,
        )
        return False
    for variable in weights_map.motivated.variables:
        mask = zeros.get(id(variable))
        if mask is not None:
            value = np.array(ops.convert_to_numpy(variable.value))
            variable.assign(np.where(mask, np.zeros_like(value), value))
    return True


def find_zeros(weights_map: Any, probe: Probe) -> Zeros | None:
    """The weights that must be zero for the extension to have no effect.

    Args:
        weights_map: The `WeightsMap`.
        probe: Its probe.

    Returns:
        Masks of entries by the id of a motivated variable, or `None` if the extension cannot be silenced.
    """
    tails, stopped, hidden = find_block_ends(weights_map.motivated, lambda layer: _status(weights_map, layer))
    if stopped:
        return None
    zeros = _crossings(weights_map) | {id(v): True for layer in tails for v in _last_weights(layer)}
    if not hidden:
        return zeros if probe.is_silent(zeros) else None
    return _search(_alike(hidden), zeros, probe)


def _status(weights_map: Any, layer: Any) -> str:
    """Whether the base has all layers with weights in `layer` ("matched"), none ("new") or some ("mixed")."""
    leaves = [own for sublayer in _keras.all_layers(layer) if (own := own_variables(sublayer))]
    if not leaves:
        return "weightless"
    new = [not any(weights_map.partner(v) for v in own) for own in leaves]
    return "new" if all(new) else "mixed" if any(new) else "matched"


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


def _alike(layers: list[Any]) -> list[list[Any]]:
    """The weights of new layers in order; those at the same place of equal blocks together, to be tried as one."""
    groups: dict[Any, list[Any]] = {}
    for layer in layers:
        structure = tuple((v.name, len(v.shape)) for v in _weights(layer))
        for place, variable in enumerate(_weights(layer)):
            key = (type(layer), structure, place) if _keras.direct_sublayers(layer) else id(variable)
            groups.setdefault(key, []).append(variable)
    return list(groups.values())


def _search(groups: list[list[Any]], zeros: Zeros, probe: Probe) -> Zeros | None:
    """Starts with all groups at zero and lets go of each, in order, that the outputs do not notice; halves first."""
    kept = {id(v): True for group in groups for v in group}
    if not probe.is_silent(zeros | kept):
        return None

    def release(part: list[list[Any]]) -> None:
        ids = {id(v) for group in part for v in group}
        rest = {key: value for key, value in kept.items() if key not in ids}
        if probe.is_silent(zeros | rest):
            for key in ids:
                del kept[key]
        elif len(part) > 1:
            release(part[: len(part) // 2])
            release(part[len(part) // 2 :])

    release(groups)
    zeros = zeros | kept
    ends = [group for group in groups if id(group[0]) in kept]
    return zeros if all(probe.is_smooth(zeros, {id(v) for v in group}) for group in ends) else None
