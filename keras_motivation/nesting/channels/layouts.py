"""The layout of an axis: segments of channels, side by side or fused with other axes; and how two layouts are unified.

A segment is a group of channels with one producer. `Concatenate` puts the segments of its inputs side by side
(`Concat`). `Flatten` fuses positions and channels into one axis in row-major order (`Fused`). An LSTM does this with
its gates and units, and a fused projection with query, key and value, heads, and entries of a head. If two axes have
the same channels, their layouts are unified: a segment of one may consist of several segments of the other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union

import numpy as np


class Segment:
    """Channels that stay together in one order. Two segments are the same only if they are one object.

    Args:
        size: Number of channels; None if it is open in the model.
    """

    __slots__ = ("size", "stands_for")

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.stands_for: Layout | None = None  # the layout with which it was unified


@dataclass(frozen=True)
class Concat:
    """Layouts side by side on one axis."""

    parts: tuple["Layout", ...]


@dataclass(frozen=True)
class Fused:
    """Several axes as one, in row-major order: the first one varies most slowly."""

    factors: tuple["Layout", ...]


Layout = Union[Segment, Concat, Fused]  # noqa: UP007 (a string in it)


def size_of(layout: Layout) -> int | None:
    """The length of an axis of this layout, or None if a part of it is open."""
    if isinstance(layout, Segment):
        return size_of(layout.stands_for) if layout.stands_for is not None and layout.size is None else layout.size
    sizes = [size_of(part) for part in parts_of(layout)]
    if any(size is None for size in sizes):
        return None
    return sum(sizes) if isinstance(layout, Concat) else math.prod(sizes)  # type: ignore[arg-type]


def parts_of(layout: Layout) -> tuple[Layout, ...]:
    """The layouts that are side by side or fused. A segment has none."""
    return layout.parts if isinstance(layout, Concat) else layout.factors if isinstance(layout, Fused) else ()


def concat(parts: list[Layout]) -> Layout:
    """Puts layouts side by side. Parts that are `Concat` themselves are merged."""
    flat: list[Layout] = []
    for part in parts:
        flat += part.parts if isinstance(part, Concat) else (part,)
    return flat[0] if len(flat) == 1 else Concat(tuple(flat))


def fused(factors: list[Layout]) -> Layout:
    """Fuses layouts to one axis. Parts that are `Fused` themselves are merged."""
    flat: list[Layout] = []
    for factor in factors:
        flat += factor.factors if isinstance(factor, Fused) else (factor,)
    return flat[0] if len(flat) == 1 else Fused(tuple(flat))


def resolved(layout: Layout) -> Layout:
    """The layout with all that is known now, down to segments that stand only for themselves."""
    while isinstance(layout, Segment) and layout.stands_for is not None:
        following = layout.stands_for
        if isinstance(following, Segment) and following.stands_for is not None:
            layout.stands_for = following.stands_for  # shortens the next search
        layout = following
    if isinstance(layout, Segment):
        return layout
    inner = [resolved(part) for part in parts_of(layout)]
    return concat(inner) if isinstance(layout, Concat) else fused(inner)


def segments_of(layout: Layout) -> list[Segment]:
    """The segments of a resolved layout."""
    if isinstance(layout, Segment):
        return [layout]
    return [segment for part in parts_of(layout) for segment in segments_of(part)]


def unify(one: Layout, other: Layout) -> bool:
    """Makes two layouts equal, and splits segments if necessary. Returns whether this was possible."""
    one, other = resolved(one), resolved(other)
    if one is other or one == other:
        return True
    sizes = size_of(one), size_of(other)
    if None not in sizes and sizes[0] != sizes[1]:
        return False
    if isinstance(one, Segment):
        return _bind(one, other)
    if isinstance(other, Segment):
        return _bind(other, one)
    if isinstance(one, Concat) != isinstance(other, Concat):
        return _unify_blocks(*((one, other) if isinstance(one, Fused) else (other, one)))
    return _unify_parts(list(parts_of(one)), list(parts_of(other)), type(one))


def _bind(segment: Segment, layout: Layout) -> bool:
    if segment in segments_of(layout):
        return False
    if isinstance(layout, Segment) and layout.size is None:
        layout.stands_for = segment  # the known size is kept
    else:
        segment.stands_for = layout
    return True


def _unify_parts(ours: list[Layout], theirs: list[Layout], kind: Any) -> bool:
    """Unifies part by part, in order. A segment that is longer than its counterpart is split."""
    while ours and theirs:
        one, other = ours.pop(0), theirs.pop(0)
        sizes = size_of(one), size_of(other)
        if 0 in sizes and sizes[0] != sizes[1]:  # nothing stands here on one side
            (theirs if sizes[0] == 0 else ours).insert(0, other if sizes[0] == 0 else one)
            continue
        if None in sizes or sizes[0] == sizes[1]:
            if not unify(one, other):
                return False
            continue
        if sizes[0] < sizes[1]:  # type: ignore[operator]
            one, other, ours, theirs = other, one, theirs, ours
        rest = split(one, size_of(other) or 0, kind)  # `one` is the longer one
        if rest is None or not unify(rest[0], other):
            return False
        ours.insert(0, rest[1])
    return all(size_of(part) == 0 for part in [*ours, *theirs])


def _unify_blocks(whole: Layout, joined: Layout) -> bool:
    """Fused axes that are taken apart along the first of them: each part is a block of its positions."""
    first, *rest = parts_of(whole)
    inner = size_of(fused(rest))
    sizes = [size_of(part) for part in parts_of(joined)]
    if not isinstance(first, Segment) or not inner or any(size is None or size % inner for size in sizes):
        return False
    blocks = [Segment((size or 0) // inner) for size in sizes]
    first.stands_for = concat(list(blocks))
    return all(unify(part, fused([block, *rest])) for block, part in zip(blocks, parts_of(joined)))


def split(layout: Layout, first: int, kind: Any) -> tuple[Layout, Layout] | None:
    """Splits a segment in two.

    Args:
        layout: The layout to split.
        first: The size of the first part.
        kind: `Concat` to split the channels into first and later ones; `Fused` to split them into two axes.

    Returns:
        Both parts; None if it is not a segment, or if the sizes do not allow it.
    """
    layout = resolved(layout)
    size = size_of(layout)
    if not isinstance(layout, Segment) or size is None or not 0 < first < size or (kind is Fused and size % first):
        return None
    parts = Segment(first), Segment(size // first if kind is Fused else size - first)
    layout.stands_for = kind(parts)
    return parts


def places_of(layout: Layout, places: np.ndarray | None = None) -> Iterator[tuple[Segment, np.ndarray]]:
    """The positions of each segment of a resolved layout on its axis.

    Args:
        layout: The layout.
        places: Used in the recursion: the positions of the layout itself.

    Yields:
        Each segment, and its positions as an array of shape (channels, occurrences of each channel).
    """
    if places is None:
        places = np.arange(size_of(layout) or 0)[:, None]
    if isinstance(layout, Segment):
        yield layout, places
    elif isinstance(layout, Concat):
        start = 0
        for part in layout.parts:
            end = start + (size_of(part) or 0)
            yield from places_of(part, places[start:end])
            start = end
    else:
        sizes = [size_of(factor) or 0 for factor in layout.factors]
        grid = places.reshape(*sizes, -1)
        for axis, factor in enumerate(layout.factors):
            yield from places_of(factor, np.moveaxis(grid, axis, 0).reshape(sizes[axis], -1))
