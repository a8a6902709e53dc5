"""Which variable stores which weight of the nested models, and how weights and gradients get from one to the other.

Each model stores only what the next smaller one does not have: its extension. So one logical weight has one variable
and one state of the optimizer, whatever the number of models. A widened weight has parts in several variables.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_motivation.backend import repeated, writer
from keras_motivation.nesting.entry import Entry
from keras_motivation.nesting.placement import Placement, positions

# An entry whose `motivated` is a variable of a nested model. Its `base` is the variable of a smaller one that stores
# this part, alone or together with still smaller models.
Piece = tuple[Entry, Placement]


class Sharing:
    """The weights that nested models share in training.

    Args:
        maps: For each model but the largest, the `WeightsMap` into the next one, without what is not shared.

    Attributes:
        pieces: For each model, the shared parts of its weights; none for the smallest.
        copy_to_all: Writes the current shared weights into the variables of all models.
    """

    def __init__(self, maps: list[Any]) -> None:
        self.models = [maps[0].base, *(weights_map.motivated for weights_map in maps)]
        self._partners: dict[int, tuple[Any, Placement]] = {}
        self._next = {id(e.base): (e.motivated, p) for m in maps for e, p in zip(m.entries, m.placements)}
        self.pieces: list[list[Piece]] = [[]]
        for weights_map in maps:
            self.pieces.append(
                [
                    (Entry(self.stored_in(entry.base), entry.motivated, entry.index), placement)
                    for entry, placement in zip(weights_map.entries, weights_map.placements)
                ]
            )
            self._partners |= {id(e.motivated): (e.base, placement) for e, placement in self.pieces[-1]}
        self._copies = [self._writers(size) for size in range(len(self.models))]
        written = [v for size in range(len(self.models)) for v in self.shared_by(size)]
        self.copy_to_all = repeated(self._copy_to_all, written)

    def partner(self, variable: Any) -> tuple[Any, Placement] | None:
        """The variable that stores the shared part of a weight, and where; `None` if the weight is not shared."""
        return self._partners.get(id(variable))

    def is_covered(self, variable: Any) -> bool:
        """Whether smaller models store all of a weight, so that its own variable stores nothing."""
        found = self.partner(variable)
        return found is not None and found[1].whole

    def stored_in(self, variable: Any) -> Any:
        """The variable that stores a weight, perhaps with parts in smaller ones."""
        found = self.partner(variable)
        return found[0] if found is not None and found[1].whole else variable

    def parts(self, variable: Any) -> list[Any]:
        """All variables that store a part of a weight, the largest first."""
        found = [self.stored_in(variable)]
        while (partner := self.partner(found[-1])) is not None:
            found.append(partner[0])
        return found

    def shared_by(self, size: int) -> list[Any]:
        """The variables of a nested model whose weights smaller models store, at least in part."""
        return [entry.motivated for entry, _ in self.pieces[size]]

    def stored(self, size: int, variables: Iterable[Any]) -> list[Any]:
        """Those variables of a nested model that store something."""
        return [v for v in variables if not self.is_covered(v)] if size else list(variables)

    def value(self, variable: Any, value_of: Callable[[Any], Any]) -> Any:
        """The current value of a weight, assembled from the variables that store its parts.

        Args:
            variable: Any variable of a nested model.
            value_of: Returns what a variable itself stores.
        """
        found = self.partner(variable)
        if found is None:
            return value_of(variable)
        inner = self.value(found[0], value_of)
        return keras.ops.convert_to_tensor(inner) if found[1].whole else found[1].place(inner, value_of(variable))

    def store(self, variable: Any, value: Any) -> None:
        """Writes the value of a weight into the variables that store its parts."""
        found = self.partner(variable)
        if found is not None:
            self.store(found[0], found[1].take(value))
        if found is None or not found[1].whole:
            variable.assign(value)

    def copy(self, size: int) -> None:
        """Writes the current shared weights into the variables of one nested model."""
        for write in self._copies[size]:
            write()

    def _copy_to_all(self) -> None:
        """Writes the current shared weights into the variables of all models."""
        for size in range(len(self.models)):
            self.copy(size)

    def place_in(self, variable: Any, steps: int) -> tuple[Any, Placement] | None:
        """The variable of a larger model that has the weight of a variable, and its place there.

        Args:
            variable: A variable of a nested model.
            steps: By how many positions the other model is larger, at least 1.

        Returns:
            Both; `None` if the models do not share this weight.
        """
        found = self._next.get(id(variable))
        for _ in range(steps - 1):
            if found is None or (larger := self._next.get(id(found[0]))) is None:
                return None
            found = larger[0], _composed(larger[1], found[0].shape, found[1], larger[0].shape)
        return found

    def carry_back(self, size: int, written: list[Any]) -> None:
        """Copies shared weights that the run of a model has written in its variables to those that store them."""
        changed = {id(v) for v in written}
        for pieces in reversed(self.pieces[: size + 1]):
            for entry, placement in pieces:
                if id(entry.motivated) in changed:
                    entry.base.assign(placement.take(entry.motivated.value))
                    changed.add(id(entry.base))

    def hand_on(
        self,
        size: int,
        gradients: dict[int, Any],
        split: Callable[[Any, Any], tuple[Any, Any]],
        add: Callable[[Any, Any], Any],
    ) -> None:
        """Passes the gradients of the shared weights of a model, and of smaller ones, to the variables that store them.

        Args:
            size: Position of the largest model that has gradients.
            gradients: Gradients, or None, by the id of the variable. They are changed in place.
            split: Takes a gradient and a `Placement`. Returns the part at the placement, and the gradient without it.
            add: Returns the sum of two gradients.
        """
        for pieces in reversed(self.pieces[: size + 1]):
            for entry, placement in pieces:
                gradient = gradients.get(id(entry.motivated))
                if gradient is None:
                    continue
                inner, rest = (gradient, None) if placement.whole else split(gradient, placement)
                own = gradients.get(id(entry.base))
                gradients[id(entry.base)] = inner if own is None else add(own, inner)
                gradients[id(entry.motivated)] = rest

    def _writers(self, size: int) -> list[Callable[[], Any]]:
        """Copies into the variables of one model, in order: of a widened weight, the largest part first.

        No other model's variables are written, because that model may have run in the same batch.
        """
        found = []
        pieces = self.pieces[size]
        while pieces:
            found.append(writer([(entry.base, entry.motivated, placement) for entry, placement in pieces]))
            pieces = [self._smaller_part(entry) for entry, _ in pieces if self.partner(entry.base) is not None]
        return found

    def _smaller_part(self, entry: Entry) -> Piece:
        """The piece of the next smaller model inside a piece whose `base` is itself widened."""
        base, inner = self._partners[id(entry.base)]
        shape = entry.motivated.shape
        composed = _composed(Placement(entry.index or (), shape), entry.base.shape, inner, shape)
        return Entry(base, entry.motivated, composed.index), composed


def _composed(outer: Placement, middle_shape: Any, inner: Placement, shape: Any) -> Placement:
    """The placement of a tensor inside another one that is itself placed in a tensor of `shape`."""
    chosen = zip(positions(outer.index, shape), positions(inner.index, middle_shape))
    return Placement(tuple(p[q] for p, q in chosen), shape)
