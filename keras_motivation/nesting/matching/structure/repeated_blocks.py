"""Blocks of a graph that are repeated: each takes what the one before it made, and does the same."""

import heapq
from collections import defaultdict
from typing import Any

from keras_motivation.nesting.matching.structure.call_graph import Call, CallGraph
from keras_motivation.nesting.matching.structure.calls_past import calls_past


class RepeatedBlocks:
    """The repeated blocks of a graph, of any length.

    Args:
        graph: The `CallGraph`.

    Attributes:
        starts: For each tensor, those with which a repeated block starts that ends with it. They have its shape.
    """

    def __init__(self, graph: CallGraph) -> None:
        self._graph = graph
        self._same = list(range(len(graph.calls)))
        self.starts: list[set[int]] = [set() for _ in graph.shapes]
        reached: list[int] = []  # for each tensor, as bits: those with which a row of repeated blocks starts
        alike: dict[Any, list[int]] = defaultdict(list)
        past = calls_past(graph)
        for tensor, shape in enumerate(graph.shapes):
            call = graph.maker(tensor)
            reached.append(1 << tensor)
            if call is None:
                continue
            same = alike[call.kind, call.settings, call.name, call.outputs.index(tensor), shape]
            made_from = graph.made_from[tensor] | 1 << tensor
            for start in [other for other in reversed(same) if made_from >> other & 1 and not made_from & past[other]]:
                in_a_row = reached[tensor] >> start & 1 and self.place_of(tensor) == self.place_of(start)
                if not in_a_row and (entry := self._entry(tensor, start)) is not None:
                    self.starts[tensor].add(start)
                    reached[tensor] |= reached[start]
                    if graph.shapes[entry] == shape:
                        self.starts[start].add(entry)
            same.append(tensor)

    def place_of(self, tensor: int) -> int | None:
        """A number for the call that makes a tensor, equal for those at the same place of equal repeated blocks."""
        position = self._graph.made_by[tensor]
        return None if position is None else self._place(position)

    def _place(self, position: int) -> int:
        while self._same[position] != position:
            self._same[position] = position = self._same[self._same[position]]
        return position

    def _entry(self, end: int, start: int) -> int | None:
        """Where the block before `start` starts, if the one from `start` to `end` does the same; else `None`.

        Both are walked back from their ends, side by side, what was made last first: so what differs is found early.
        What is the same tensor in both comes from outside.
        """
        graph = self._graph
        pairs: dict[int, int] = {}
        entries = set()
        pending = [(-end, start)]
        while pending:
            number, there = heapq.heappop(pending)
            here = -number
            if here == start:
                entries.add(there)
            elif here != there:
                if graph.made_from[start] >> here & 1:  # it is needed before the block, too
                    return None
                ours, theirs = graph.made_by[here], graph.made_by[there]
                if ours is None or theirs is None or pairs.get(ours, theirs) != theirs:
                    return None
                one, other = graph.calls[ours], graph.calls[theirs]
                if not (_alike(one, other) and one.outputs.index(here) == other.outputs.index(there)):
                    return None
                if ours not in pairs:
                    pairs[ours] = theirs
                    for pair in zip(one.inputs, other.inputs):
                        heapq.heappush(pending, (-pair[0], pair[1]))
        blocks = ((pairs.keys(), end), (set(pairs.values()), start))
        if len(entries) != 1 or not all(graph.is_used_by(block, p, but) for block, but in blocks for p in block):
            return None
        (entry,) = entries
        if graph.shapes[entry] == graph.shapes[start] and all(self._of_one_size(*pair) for pair in pairs.items()):
            for ours, theirs in pairs.items():
                self._same[self._place(ours)] = self._place(theirs)
        return entry

    def _of_one_size(self, ours: int, theirs: int) -> bool:
        one, other = self._graph.calls[ours], self._graph.calls[theirs]
        results = [[self._graph.shapes[tensor] for tensor in call.outputs] for call in (one, other)]
        return one.weights == other.weights and results[0] == results[1]


def _alike(one: Call, other: Call) -> bool:
    return one.does_as(other) and one.name == other.name and len(one.inputs) == len(other.inputs)
