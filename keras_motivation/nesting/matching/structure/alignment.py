"""Two graphs side by side: which tensor of the one is which of the other, from the outputs up.

Two tensors correspond if their calls do the same and take what corresponds; or if the larger model has another block
between them, whose result stands for what it takes. Whether the graphs above two tensors can be aligned depends on
nothing else, so that each pair of tensors is looked at once.
"""

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from keras_motivation.nesting.matching.structure.call_graph import Call, CallGraph
from keras_motivation.nesting.matching.structure.left_out import BlocksToLeaveOut

Tensors = tuple[int, int]  # one of the base and one of the motivated model
Pairs = list[tuple[Any, Any]]
Shapes = tuple[tuple[int, ...], ...]


class Match(NamedTuple):
    """One way in which two tensors may correspond.

    Attributes:
        needs: The tensors that must correspond for it.
        calls: The calls that make the two; `None` if they are inputs, or if a block is left out.
        place: Equal for matches of which it does not matter which one is taken; `None` if a block is left out.
    """

    needs: tuple[Tensors, ...]
    calls: tuple[Call, Call] | None = None
    place: Hashable = None


class Alignment:
    """All alignments of two graphs, up to which of equal blocks are left out.

    Args:
        base: The base's `CallGraph`.
        motivated: The motivated model's.
        blocks: What can be left out of the motivated model's graph.
        known: Pairs of layers that are settled. Layers with chosen names are paired with these alone.
        same_sizes: Whether layers correspond only if their weights have the same shapes.

    Attributes:
        matches: The matches of each two tensors that were looked at.
        found: By two tensors, up to two alignments of all that they are made from, each under a number of its own: the
            match, and the numbers of the alignments of what that needs.
    """

    def __init__(
        self, base: CallGraph, motivated: CallGraph, blocks: BlocksToLeaveOut, known: Pairs, same_sizes: bool
    ) -> None:
        self.base, self.motivated = base, motivated
        self._blocks, self._same_sizes = blocks, same_sizes
        self._known = {id(layer): partner for layer, partner in known}
        self._taken = {id(partner) for _, partner in known}
        self._outputs = list(zip(base.outputs, motivated.outputs))
        self._inputs = list(zip(base.inputs, motivated.inputs))
        self.matches: dict[Tensors, list[Match]] = {}
        self.found: dict[Tensors, dict[int, tuple[Match, tuple[int, ...]]]] = {}
        self._look_up()
        self._align()

    @property
    def exists(self) -> bool:
        """Whether there is an alignment."""
        return all(self.found[tensors] for tensors in self._outputs)

    def layers(self, last: bool = False) -> Pairs:
        """The layers with weights that correspond in the first alignment, or the last, in the order of the base."""
        pending = [(tensors, list(self.found[tensors])[-1 if last else 0]) for tensors in self._outputs]
        seen = set(pending)
        calls = []
        while pending:
            tensors, number = pending.pop()
            match, numbers = self.found[tensors][number]
            if match.calls is not None and match.calls[0].weights:
                calls.append((tensors[0], *match.calls))
            needed = set(zip(match.needs, numbers)) - seen
            seen |= needed
            pending += needed
        in_order = sorted(calls, key=lambda line: line[0])
        pairs = [(ours.operation, theirs.operation) for _, ours, theirs in in_order]
        return list({(id(one), id(other)): (one, other) for one, other in pairs}.values())

    def _look_up(self) -> None:
        pending = list(self._outputs)
        while pending:
            tensors = pending.pop()
            if tensors not in self.matches:
                self.matches[tensors] = list(self._matches_of(*tensors))
                pending += [needed for match in self.matches[tensors] for needed in match.needs]

    def _matches_of(self, inner: int, outer: int) -> Iterator[Match]:
        """What leaves out a block comes first: so the last ones are left out, where it does not matter."""
        if not fits(self.base.shapes[inner], self.motivated.shapes[outer]):
            return
        for start in self._blocks.starts[outer]:
            yield Match(((inner, start),))
        ours, theirs = self.base.maker(inner), self.motivated.maker(outer)
        if (inner, outer) in self._inputs:
            yield Match((), place=self._inputs.index((inner, outer)))
        elif ours is not None and theirs is not None and self._do_the_same(ours, theirs):
            output = ours.outputs.index(inner)
            if output == theirs.outputs.index(outer):
                place = self._blocks.place_of(outer) if theirs.weights else theirs.kind
                yield Match(tuple(zip(ours.inputs, theirs.inputs)), (ours, theirs), (place, output))

    def _do_the_same(self, ours: Call, theirs: Call) -> bool:
        one, other = ours.operation, theirs.operation
        if len(ours.inputs) != len(theirs.inputs) or not self._of_sizes(ours.weights, theirs.weights):
            return False
        if id(one) in self._known or id(other) in self._taken or ours.name or theirs.name:
            return self._known.get(id(one)) is other
        return ours.does_as(theirs)

    def _of_sizes(self, ours: Shapes, theirs: Shapes) -> bool:
        return ours == theirs or (not self._same_sizes and len(ours) == len(theirs) and all(map(fits, ours, theirs)))

    def _align(self) -> None:
        """Fills `found`; a tensor has a larger number than those that it is made from, so these come first."""
        numbers: dict[Hashable, int] = {}
        for tensors in sorted(self.matches, key=lambda tensors: tensors[::-1]):
            found: dict[int, tuple[Match, tuple[int, ...]]] = {}
            for match in self.matches[tensors]:
                for chosen in self._chosen(match):
                    number = (
                        chosen[0] if match.place is None else numbers.setdefault((match.place, chosen), len(numbers))
                    )
                    if len(found) < 2:
                        found.setdefault(number, (match, chosen))
            self.found[tensors] = found

    def _chosen(self, match: Match) -> Iterator[tuple[int, ...]]:
        """The first alignment of each need; and the same with the second one of one of them."""
        known = [list(self.found[tensors]) for tensors in match.needs]
        if all(known):
            first = tuple(numbers[0] for numbers in known)
            yield first
            for i, numbers in enumerate(known):
                yield from ((*first[:i], other, *first[i + 1 :]) for other in numbers[1:])


@lru_cache(maxsize=4096)
def fits(inner: tuple[int | None, ...], outer: tuple[int | None, ...]) -> bool:
    """Whether a shape is nowhere larger than another."""
    return len(inner) == len(outer) and all(a is None or b is None or a <= b for a, b in zip(inner, outer))
