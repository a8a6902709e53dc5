"""Which channels of a wider motivated model the base gets: the first ones, the largest ones, or those a function picks.

A choice is made once for each group of axes that hold the same channels, and applied to all of them.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation.assembly import Index
from keras_motivation.channels import Group, channel_groups

Select = str | Callable[[Any, Any, int], Any]
ADVICE = 'Use `select="prefix"`, or pass an explicit map: `weights_map=WeightsMap(base, motivated, entries)`.'


def select_channels(
    pairs: list[tuple[Any, Any]], base: keras.Model, motivated: keras.Model, select: Select = "prefix"
) -> list[tuple[Any, Any, Index | None]]:
    """Chooses which channels of each wider motivated weight the base gets.

    Args:
        pairs: `(base variable, motivated variable)` of the mapped weights, of equal ranks.
        base: The base model, built.
        motivated: The motivated model, built; trained, where `select` looks at its weights.
        select: `"prefix"`, the first channels; `"importance"`, those with the largest L1 norm in the kernels of the
            motivated model that produce them (of equal ones the first); or a function `select(base_variable,
            motivated_variable, axis)` that returns the positions of as many different channels as the base has, as
            integers in any order. It is called once for each group of weights that share their channels, with the first
            kernel that produces them.

    Returns:
        Entries `(base variable, motivated variable, index)` for `WeightsMap`, in the order of `pairs`, with positions
        in ascending order; an index of `None` is the prefix.

    Raises:
        ValueError: If `select` is none of these or returns something else, or if channels that grew pass through a
            layer in which their order cannot be followed; the error names the layer.

    Source: the criterion is that of filter pruning: Li et al., "Pruning Filters for Efficient ConvNets", 2017.

    Examples:
        >>> import keras
        >>> from keras_motivation.selection import select_channels
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(2)])
        >>> base, large = mlp(2), mlp(6)
        >>> entries = select_channels(list(zip(base.weights, large.weights)), base, large, lambda b, m, axis: [1, 3])
        >>> [None if index is None else [str(axis) for axis in index] for _, _, index in entries]
        [['slice(None, None, None)', '[1 3]'], ['[1 3]'], ['[1 3]', 'slice(None, None, None)'], None]
    """
    if not callable(select) and not (isinstance(select, str) and select in ("prefix", "importance")):
        raise ValueError(
            'Argument `select` must be "prefix", "importance" or a function `(base_variable, motivated_variable, axis) '
            f"-> positions`. Received: select={select!r}"
        )
    if not callable(select) and select == "prefix":
        return [(inner, outer, None) for inner, outer in pairs]
    groups = [group for group in channel_groups(pairs, base, motivated) if group.grew]
    problems = list(dict.fromkeys(problem for group in groups for problem in _problems(group)))
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems[:8])
        more = f"\n- and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(
            f"Argument `select`: it cannot be shown that '{base.name}' would get the same channels of "
            f"'{motivated.name}' everywhere.{listed}{more}\n{ADVICE} Received: select={select!r}"
        )
    chosen = {}
    for group in groups:
        positions = _called(select, group) if callable(select) else _largest(group)
        chosen.update({(id(outer), axis): positions for _, outer, axis in group.mapped})
    return [(inner, outer, _index(outer, chosen)) for inner, outer in pairs]


def _problems(group: Group) -> list[str]:
    """Why one choice cannot serve a whole group, in sentences."""
    inner, outer, axis = next(m for m in group.mapped if m[0].shape[m[2]] != m[1].shape[m[2]])
    channels = f"the channels on axis {axis} of '{outer.path}' ({inner.shape[axis]} of {outer.shape[axis]})"
    problems = [f"{channels} pass through {barrier}" for barrier in group.barriers[:1]]
    sizes = sorted({(i.shape[a], o.shape[a]) for i, o, a in group.mapped})
    if len(sizes) > 1 or len(group.sizes) > 1:
        counts = ", ".join(f"{i} of {o}" for i, o in sizes)
        problems.append(f"{channels} are joined with others of which another number is chosen: {counts}")
    if not problems and not _mapped_producers(group):
        problems.append(f"{channels} are produced by no kernel that the base has")
    return problems


def _mapped_producers(group: Group) -> list[tuple[Any, Any, int]]:
    partners = {(id(outer), axis): inner for inner, outer, axis in group.mapped}
    return [(partners[id(v), axis], v, axis) for v, axis in group.producers if (id(v), axis) in partners]


def _largest(group: Group) -> np.ndarray:
    """The channels with the largest L1 norm, summed over all kernels that produce them."""
    inner, _, axis = group.mapped[0]
    scores = sum(_norms(kernel, axis) for kernel, axis in group.producers)
    return np.sort(np.argsort(-np.asarray(scores), kind="stable")[: inner.shape[axis]])


def _norms(kernel: Any, axis: int) -> np.ndarray:
    """The L1 norm of each slice along `axis`."""
    values = np.abs(ops.convert_to_numpy(kernel.value).astype("float64"))
    return values.sum(axis=tuple(a for a in range(values.ndim) if a != axis))


def _called(select: Callable[[Any, Any, int], Any], group: Group) -> np.ndarray:
    """The channels that the user's function picks, checked."""
    inner, outer, axis = _mapped_producers(group)[0]
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


def _index(outer: Any, chosen: dict[tuple[int, int], np.ndarray]) -> Index | None:
    axes = [chosen.get((id(outer), axis)) for axis in range(len(outer.shape))]
    return None if all(a is None for a in axes) else tuple(slice(None) if a is None else a for a in axes)
