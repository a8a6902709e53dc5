"""Blocks that can be left out of a graph: repeated ones, and those with a connection around them."""

from keras_motivation.nesting.matching.structure.call_graph import CallGraph
from keras_motivation.nesting.matching.structure.repeated_blocks import RepeatedBlocks
from keras_motivation.nesting.matching.structure.residual_blocks import is_residual, ways_past


class BlocksToLeaveOut:
    """What can be left out of a graph.

    Args:
        graph: The `CallGraph`.

    Attributes:
        starts: For each tensor, where blocks start that end with it and do not consist of other blocks.
        place_of: A number for the call that makes a tensor, equal for those at the same place of equal blocks.
    """

    def __init__(self, graph: CallGraph) -> None:
        repeated = RepeatedBlocks(graph)
        self.place_of = repeated.place_of
        self.starts: list[list[int]] = []
        reached: list[int] = []  # for each tensor, as bits: those that may stand for it if blocks in a row are left out
        for tensor, repeats in enumerate(repeated.starts):
            ways = ways_past(graph, tensor)
            found: list[int] = []
            reach = 1 << tensor
            for start in sorted(repeats | ways.keys(), reverse=True):
                if reach >> start & 1:
                    continue
                if start in repeats or is_residual(graph, start, ways[start]):
                    found.append(start)
                    reach |= reached[start]
            self.starts.append(found)
            reached.append(reach)
