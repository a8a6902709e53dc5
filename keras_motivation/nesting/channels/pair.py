"""Compares the graphs of two models: which segments of the base correspond to which of the motivated model.

Segments of both models are in one group if they are on the same axis of a weight and its partner, of corresponding
inputs, or of the results of corresponding layers. Then each axis of a mapped weight is compared part by part, and the
base's segments are found inside the motivated axis at their offsets. This gives the entries of the weights map.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_motivation.nesting.channels.graph import Graph
from keras_motivation.nesting.channels.layouts import (
    Concat,
    Fused,
    Layout,
    Segment,
    parts_of,
    places_of,
    segments_of,
    size_of,
)


@dataclass
class Group:
    """Segments of both models that have the same channels.

    Attributes:
        sizes: The numbers of channels in the base and in the motivated model. There are several numbers if the models
            disagree about which segments belong together.
        mapped: `(base variable, motivated variable, axis)`: axes of mapped weights that have only these channels.
        produced: `(motivated variable, axis, places)`: kernels that produce the channels, in the order of the graph.
            `places` are the positions of each channel on the axis, of shape (channels, occurrences).
        barriers: In words, the places where the order of the channels cannot be followed.
        chosen: The positions of the base's channels in the motivated model; None for the first ones.
    """

    sizes: tuple[set[int | None], set[int | None]] = field(default_factory=lambda: (set(), set()))
    mapped: list[tuple[Any, Any, int]] = field(default_factory=list)
    produced: list[tuple[Any, int, np.ndarray]] = field(default_factory=list)
    barriers: list[str] = field(default_factory=list)
    chosen: np.ndarray | None = None

    @property
    def grew(self) -> bool:
        """Whether the motivated model and the base have different numbers of these channels."""
        return bool(self.sizes[0]) and self.sizes[0] != self.sizes[1]


class Channels:
    """The channels of a pair of models.

    Args:
        pairs: `(base variable, motivated variable)` of the mapped weights.
        layers: Corresponding layers, `(base, motivated)`.
        base: The base model, built.
        motivated: The motivated model, built.
        deep: Whether to look into layers that no rule knows, and into subclassed models.

    Attributes:
        groups: The groups with channels of mapped weights, in the order of their first producers. To select other
            channels than the first ones, set `chosen` of a group.
        unclear: Sentences about widened axes of weights on which the base's channels cannot be found. There, the first
            entries are used, which is probably wrong.
    """

    def __init__(
        self,
        pairs: list[tuple[Any, Any]],
        layers: list[tuple[Any, Any]],
        base: keras.Model,
        motivated: keras.Model,
        deep: bool = False,
    ) -> None:
        self._graphs = Graph(base, deep), Graph(motivated, deep)
        self._barriers = tuple(graph.barriers() for graph in self._graphs)
        self._ends = {end for graph in self._graphs for end in graph.ends}
        self._parents: dict[Segment, Segment] = {}
        self._axes = [
            (inner, outer, axis, self._graphs[0].layout(inner, axis), self._graphs[1].layout(outer, axis))
            for inner, outer in pairs
            for axis in range(len(outer.shape))
        ]
        linked = [(ours, theirs) for *_, ours, theirs in self._axes] + list(self._tensors(layers))
        known = -1
        while known != (known := self._links()):  # the result for one axis may decide another one
            for ours, theirs in linked:
                self._correspond(ours, theirs)
        self._by_segment = self._grouped()
        self.unclear = self._find_unclear()
        self.groups = [group for group in self._by_segment.values() if group.sizes[0]]

    def index(self, inner: Any, outer: Any) -> list[np.ndarray | None]:
        """The positions of a base tensor's entries in its partner.

        Args:
            inner: A variable or symbolic tensor of the base.
            outer: Its partner, of the same rank.

        Returns:
            For each axis, the positions of the base's entries; None if they are not known.
        """
        base, motivated = self._graphs
        axes = range(len(outer.shape))
        return [self._index(base.layout(inner, a), motivated.layout(outer, a), guess=True) for a in axes]

    def output_places(self) -> list[list[np.ndarray | None]] | None:
        """Like `index`, for each output of the models; None if they have no graph or differ in their outputs."""
        base, motivated = self._graphs
        if not base.outputs or len(base.outputs) != len(motivated.outputs):
            return None
        pairs = list(zip(base.outputs, motivated.outputs))
        if any(len(inner.shape) != len(outer.shape) for inner, outer in pairs):
            return None
        return [self.index(inner, outer) for inner, outer in pairs]

    def result_places(self, layers: list[tuple[Any, Any]]) -> dict[int, dict[int, np.ndarray]]:
        """Where the base's entries of layers' results are in those of their partners, if they are not the first ones.

        Args:
            layers: Corresponding layers, `(base, motivated)`.

        Returns:
            By the id of the base's layer: the positions, by axis counted from the end. Not of layers that are called
            several times with results at different positions.
        """
        base, motivated = self._graphs
        found = {}
        for inner, outer in layers:
            calls = zip(base.calls.get(id(inner), []), motivated.calls.get(id(outer), []))
            pairs = [(ours.outputs[0], theirs.outputs[0]) for ours, theirs in calls]
            moved = [_moved(self.index(*pair)) for pair in pairs if len(pair[0].shape) == len(pair[1].shape)]
            if moved and moved[0] and all(_equal(moved[0], other) for other in moved[1:]):
                found[id(inner)] = moved[0]
        return found

    # ---- Which segments correspond

    def _tensors(self, layers: list[tuple[Any, Any]]) -> Iterator[tuple[Layout, Layout]]:
        """Inputs of both models, and results of corresponding layers."""
        base, motivated = self._graphs
        tensors = list(zip(base.inputs, motivated.inputs))
        for inner, outer in layers:
            for ours, theirs in zip(base.calls.get(id(inner), []), motivated.calls.get(id(outer), [])):
                tensors += zip(ours.outputs, theirs.outputs)
        for one, other in tensors:
            if len(one.shape) == len(other.shape):
                for axis in range(len(one.shape)):
                    yield base.layout(one, axis), motivated.layout(other, axis)

    def _find(self, segment: Segment) -> Segment:
        while (parent := self._parents.setdefault(segment, segment)) is not segment:
            self._parents[segment] = segment = self._parents[parent]  # shortens the next search
        return segment

    def _links(self) -> int:
        return sum(self._find(segment) is not segment for segment in list(self._parents))

    def _correspond(self, ours: Layout, theirs: Layout) -> None:
        """Puts segments of two layouts that have the same channels into one group, as far as this is known."""
        if isinstance(ours, Segment) and isinstance(theirs, Segment):
            self._parents[self._find(ours)] = self._find(theirs)
            return
        for part, place in self._partners(ours, theirs) or []:
            self._correspond(part, parts_of(theirs)[place])

    def _partners(self, ours: Layout, theirs: Layout) -> list[tuple[Layout, int]] | None:
        """The parts of the base's layout, with the places of their partners in the other; None if this is not known."""
        if isinstance(theirs, Fused):
            return None if isinstance(ours, Concat) else self._partners_of_factors(ours, theirs)
        if not isinstance(theirs, Concat):
            return None
        parts = ours.parts if isinstance(ours, Concat) else (ours,)
        places = iter(range(len(theirs.parts)))  # each part is searched after the previous one
        found = [next((p for p in places if self._same(part, theirs.parts[p])), None) for part in parts]
        if None not in found:
            return list(zip(parts, found))  # type: ignore[arg-type]
        # If producers do not show all partners, but both have the same number of parts, these are in the same order.
        return list(zip(parts, range(len(parts)))) if len(parts) == len(theirs.parts) else None

    def _partners_of_factors(self, ours: Segment | Fused, theirs: Fused) -> list[tuple[Layout, int]] | None:
        """Like `_partners`, for fused axes. An axis of length 1 in the base, such as one head, has no partner."""
        factors = ours.factors if isinstance(ours, Fused) else (ours,)
        if len(factors) == len(theirs.factors):
            return list(zip(factors, range(len(factors))))
        if self._barriers_on(ours, 0) > self._barriers_on(theirs, 1):  # the base could not be followed so far
            return None
        found: list[tuple[Layout, int]] = []
        places = list(range(len(theirs.factors)))
        while places:
            place = places.pop()
            one, other = factors[len(factors) - 1 - len(found)], theirs.factors[place]
            if len(found) < len(factors) and (self._same(one, other) or size_of(one) == size_of(other)):
                found.insert(0, (one, place))
            elif self._graphs[1].is_whole(other):
                return None
        return found if len(found) == len(factors) else None

    def _barriers_on(self, layout: Layout, side: int) -> int:
        """In how many places the channels of a layout could not be followed."""
        reasons = {reason for segment in segments_of(layout) for reason in self._barriers[side].get(segment, [])}
        return len(reasons - self._ends)

    def _same(self, ours: Layout, theirs: Layout) -> bool:
        """Whether two parts are known to have the same channels. Axes of positions only need the same length."""
        if isinstance(ours, Segment) and isinstance(theirs, Segment):
            return self._find(ours) is self._find(theirs)
        inner, outer = parts_of(ours), parts_of(theirs)
        if type(ours) is not type(theirs) or len(inner) != len(outer):
            return False
        known = [self._same(one, other) for one, other in zip(inner, outer)]
        return any(known) and all(k or size_of(a) == size_of(b) for k, a, b in zip(known, inner, outer))

    # ---- Groups and entries

    def _grouped(self) -> dict[Segment, Group]:
        motivated = self._graphs[1]
        groups: dict[Segment, Group] = defaultdict(Group)
        for kernel, axis in motivated.producers:
            for segment, places in places_of(motivated.layout(kernel, axis)):
                groups[self._find(segment)].produced.append((kernel, axis, places))
        for inner, outer, axis, ours, theirs in self._axes:
            for segment in segments_of(ours):
                groups[self._find(segment)].sizes[0].add(segment.size)
            if isinstance(ours, Segment) and isinstance(theirs, Segment):
                groups[self._find(theirs)].mapped.append((inner, outer, axis))
        for variable in motivated.model.variables:  # also those of new layers
            for axis in range(len(variable.shape)):
                for segment in segments_of(motivated.layout(variable, axis)):
                    groups[self._find(segment)].sizes[1].add(segment.size)
        for barriers in reversed(self._barriers):
            for segment, reasons in barriers.items():
                found = groups[self._find(segment)].barriers
                found += [reason for reason in reasons if reason not in found]
        return dict(groups)

    def _find_unclear(self) -> list[str]:
        return [
            f"axis {axis} of '{outer.path}' ({inner.shape[axis]} of {outer.shape[axis]}) is joined or fused otherwise "
            "in the two models"
            for inner, outer, axis, ours, theirs in self._axes
            if inner.shape[axis] < outer.shape[axis] and self._index(ours, theirs) is None
        ]

    def _index(self, ours: Layout, theirs: Layout, guess: bool = False) -> np.ndarray | None:
        """The positions of the base's entries on the motivated axis.

        A guess is the first positions for channels that only the motivated model splits, as the groups of a new norm
        do: what the base has, there, does not depend on them.
        """
        sizes = size_of(ours), size_of(theirs)
        if sizes[0] is None or sizes[1] is None or sizes[0] > sizes[1]:
            return None
        if isinstance(ours, Segment) and isinstance(theirs, Segment):
            group = self._by_segment.get(self._find(theirs))
            chosen = None if group is None else group.chosen
            return np.arange(sizes[0]) if chosen is None or len(chosen) != sizes[0] else chosen
        partners = self._partners(ours, theirs)
        if partners is None:
            known = sizes[0] == sizes[1] or (guess and isinstance(ours, Segment))
            return np.arange(sizes[0]) if known else None
        parts = parts_of(theirs)
        found = [self._index(part, parts[place], guess) for part, place in partners]
        if any(index is None for index in found):
            return None
        lengths = [size_of(part) or 0 for part in parts]
        if isinstance(theirs, Fused):
            at = dict(zip((place for _, place in partners), found))
            grid = np.arange(sizes[1]).reshape(lengths)
            return grid[np.ix_(*(at.get(place, [0]) for place in range(len(parts))))].reshape(-1)
        starts = np.cumsum([0, *lengths])
        return np.concatenate([starts[place] + index for (_, place), index in zip(partners, found)])


def _moved(index: list[np.ndarray | None]) -> dict[int, np.ndarray]:
    """Positions that are not the first ones, by axis counted from the end."""
    known = {axis - len(index): places for axis, places in enumerate(index) if places is not None}
    return {axis: places for axis, places in known.items() if not np.array_equal(places, np.arange(len(places)))}


def _equal(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(places, other[axis]) for axis, places in one.items())
