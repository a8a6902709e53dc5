"""Selects the channels of a wider motivated model that the base gets: the first, the largest, or those of a function.

There is one selection for each group of channels. It applies to all weights that have these channels.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_motivation.nesting.channels import Channels, Group
from keras_motivation.nesting.placement import Index

Select = str | Callable[[Any, Any, int], Any]
ADVICE = 'Use `select="prefix"`, or pass an explicit map: `weights_map=WeightsMap(base, motivated, entries)`.'


def select_channels(
    pairs: list[tuple[Any, Any]], channels: Channels, select: Select = "prefix"
) -> list[tuple[Any, Any, Index | None]]:
    """Selects the channels of each wider motivated weight that the base gets.

    Args:
        pairs: `(base variable, motivated variable)` of the mapped weights, of equal ranks.
        channels: The channels of both models.
        select: `"prefix"`, the first channels of each group; `"importance"`, those with the largest L1 norm in the
            kernels of the motivated model that produce them (of equal ones, the first); or a function
            `select(base_variable, motivated_variable, axis)`. The function returns the positions of different channels
            as integers in any order, as many as the base has. It is called once for each group, with the first kernel
            that produces the channels.

    Returns:
        Entries `(base variable, motivated variable, index)` for `WeightsMap`, in the order of `pairs`, with the
        channels of each group in ascending order. An index of `None` is the prefix.

    Raises:
        ValueError: If `select` is none of these or returns something else, or if widened channels pass through a layer
            in which their order cannot be followed. The error names the layer.

    Source: the criterion is that of filter pruning: Li et al., "Pruning Filters for Efficient ConvNets", 2017.

    Examples:
        >>> import keras
        >>> from keras_motivation.nesting.channels import Channels
        >>> from keras_motivation.nesting.selection import select_channels
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(2)])
        >>> base, large = mlp(2), mlp(6)
        >>> pairs = list(zip(base.weights, large.weights))
        >>> channels = Channels(pairs, list(zip(base.layers, large.layers)), base, large)
        >>> entries = select_channels(pairs, channels, lambda b, m, axis: [1, 3])
        >>> [None if index is None else [str(axis) for axis in index] for _, _, index in entries]
        [['slice(None, None, None)', '[1 3]'], ['[1 3]'], ['[1 3]', 'slice(None, None, None)'], None]
    """
    if callable(select) or select != "prefix":
        groups = [group for group in channels.groups if group.grew]
        found = channels.unclear or [problem for group in groups for problem in _problems(group)]
        problems = list(dict.fromkeys(found))
        if problems:
            listed = "".join(f"\n- {problem}" for problem in problems[:8])
            more = f"\n- and {len(problems) - 8} more" if len(problems) > 8 else ""
            raise ValueError(
                f"Argument `select`: it cannot be shown that the base would get the same channels everywhere.{listed}"
                f"{more}\n{ADVICE} Received: select={select!r}"
            )
        for group in groups:
            group.chosen = _called(select, group) if callable(select) else _largest(group)
    return [(inner, outer, _index(inner, outer, channels.index(inner, outer))) for inner, outer in pairs]


def check_select(select: Any) -> None:
    """Raises a `ValueError` if `select` is neither one of its choices nor a function."""
    if not callable(select) and not (isinstance(select, str) and select in ("prefix", "importance")):
        raise ValueError(
            'Argument `select` must be "prefix", "importance" or a function `(base_variable, motivated_variable, axis) '
            f"-> positions`. Received: select={select!r}"
        )


def _problems(group: Group) -> list[str]:
    """The reasons, in sentences, why there cannot be one selection for the whole group."""
    pairs = sorted({(inner.shape[axis], outer.shape[axis]) for inner, outer, axis in group.mapped})
    counts = ", ".join(f"{ours} of {theirs}" for ours, theirs in pairs or itertools.product(*group.sizes))
    if group.mapped:
        inner, outer, axis = next((m for m in group.mapped if m[0].shape[m[2]] != m[1].shape[m[2]]), group.mapped[0])
        channels = f"the channels on axis {axis} of '{outer.path}' ({inner.shape[axis]} of {outer.shape[axis]})"
    else:
        made = f" that '{group.produced[0][0].path}' makes" if group.produced else ""
        channels = f"channels{made} ({counts})"
    problems = [f"{channels} pass through {barrier}" for barrier in group.barriers[:1]]
    if max(map(len, group.sizes)) > 1:
        problems.append(f"{channels} are joined with others of which another number is chosen: {counts}")
    if not problems and not _asked(group):
        problems.append(f"{channels} are produced by no kernel that the base has")
    return problems


def _asked(group: Group) -> list[tuple[Any, Any, int]]:
    """The axes of mapped weights with which the user's function can be called: those of kernels that produce the
    channels; or of kernels that use them, if the producers also have other channels on this axis."""
    made = {(id(kernel), axis) for kernel, axis, _ in group.produced}
    makers = [(inner, outer, axis) for inner, outer, axis in group.mapped if (id(outer), axis) in made]
    order = [(id(kernel), axis) for kernel, axis, _ in group.produced]
    makers.sort(key=lambda mapped: order.index((id(mapped[1]), mapped[2])))
    return makers or (group.mapped if made else [])


def _largest(group: Group) -> np.ndarray:
    """The channels with the largest L1 norm, summed over all kernels that produce them."""
    (count,) = group.sizes[0]
    scores = sum(_norms(kernel, axis)[places].sum(axis=1) for kernel, axis, places in group.produced)
    return np.sort(np.argsort(-np.asarray(scores), kind="stable")[:count])


def _norms(kernel: Any, axis: int) -> np.ndarray:
    """The L1 norm of each slice along `axis`."""
    values = np.abs(ops.convert_to_numpy(kernel.value).astype("float64"))
    return values.sum(axis=tuple(a for a in range(values.ndim) if a != axis))


def _called(select: Callable[[Any, Any, int], Any], group: Group) -> np.ndarray:
    """The channels that the user's function returns, after a check."""
    inner, outer, axis = _asked(group)[0]
    count, size = inner.shape[axis], outer.shape[axis]
    result = select(inner, outer, axis)
    try:
        positions = np.asarray(result)
    except (ValueError, TypeError):  # ragged lists, tensors that numpy cannot read
        positions = np.array(None)
    whole = positions.ndim == 1 and np.issubdtype(positions.dtype, np.integer)
    if not whole or len(positions) != count or len(set(positions.tolist()) & set(range(size))) != count:
        raise ValueError(
            f"Argument `select` must return {count} different integers in [0, {size}) for axis {axis} of "
            f"'{outer.path}' {tuple(outer.shape)}, whose partner in the base is {tuple(inner.shape)}. "
            f"Received: {result!r}"
        )
    return np.sort(positions)


def _index(inner: Any, outer: Any, found: list[np.ndarray | None]) -> Index | None:
    """The index of an entry. If the channels of an axis cannot be followed, it has the first positions."""
    firsts = [np.arange(size) for size in inner.shape]
    places = [first if place is None else place for first, place in zip(firsts, found)]
    if all(np.array_equal(place, first) for place, first in zip(places, firsts)):
        return None
    wholes = [np.array_equal(place, np.arange(size)) for place, size in zip(places, outer.shape)]
    return tuple(slice(None) if whole else place for whole, place in zip(wholes, places))
