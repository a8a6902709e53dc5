"""Where the base's positions stand on one axis of a tensor of the motivated model, and how layers move them.

Whoever makes an axis puts the base's channels first. Where that cannot be (the halves of a split, say), the one who
needs it asks for other places, back through all that lies between, and the walk is made again.
Nothing of the package is used here.
"""

import numpy as np


class NoMap(Exception):  # noqa: N818 (no error, but an answer)
    """No choice of channels makes the models nest, as far as this reasoning goes."""


class Axis:
    """One axis in both models.

    Args:
        places: For each position in the base where it stands in the motivated model.
        size: How many positions the motivated model has.
        move: Asks for other places and returns whether that was possible; by default it is not.
    """

    def __init__(self, places, size, move=lambda places: False):
        self.places, self.size, self._move = np.asarray(places, int), size, move

    def __len__(self):
        return len(self.places)

    def at(self, places):
        """Whether the places are these; if not, asks for them."""
        return np.array_equal(self.places, places) or self._move(np.asarray(places, int))


def _all(answers):
    """Whether all are true; asks for each, also after one that is not, because asking changes something."""
    return False not in list(answers)


def fixed(length, size=None):
    """An axis that nothing can move: positions, gates, ids."""
    return Axis(np.arange(length), length if size is None else size)


def same(one, other):
    """Two axes that hold the same channels: the second follows the first if it can, or else the first the second."""
    if (len(one), one.size) != (len(other), other.size):
        raise NoMap("axes of different lengths are one")
    if not (other.at(one.places) or one.at(other.places)):
        raise NoMap("two axes that are one have their channels at different places")

    def move(places):
        return _all(axis.at(places) for axis in (one, other))

    return Axis(one.places, one.size, move)


def joined(axes):
    """Axes side by side."""
    lengths, sizes = np.cumsum([0, *map(len, axes)]), np.cumsum([0, *(axis.size for axis in axes)])

    def move(places):
        parts = [places[a:b] - start for a, b, start in zip(lengths, lengths[1:], sizes)]
        inside = all(np.all((part >= 0) & (part < axis.size)) for part, axis in zip(parts, axes))
        return inside and _all(axis.at(part) for part, axis in zip(parts, axes))

    return Axis(np.concatenate([axis.places + start for axis, start in zip(axes, sizes)]), sizes[-1], move)


def divided(axis, lengths, sizes):
    """The reverse of `joined`: parts of these lengths in the base and in the motivated model."""
    ends, stops = np.cumsum([0, *lengths]), np.cumsum([0, *sizes])
    if any(a > b for a, b in zip(lengths, sizes)):
        raise NoMap("a part is longer in the base")
    parts = [axis.places[a:b] - start for a, b, start in zip(ends, ends[1:], stops)]
    parts = [_inside(part, size) for part, size in zip(parts, sizes)]
    if not axis.at(np.concatenate([part + start for part, start in zip(parts, stops)])):
        raise NoMap("a part of the base's lies in another part of the motivated model's")

    def mover(number):
        def move(places):
            found = [*parts[:number], places, *parts[number + 1 :]]
            return axis.at(np.concatenate([part + start for part, start in zip(found, stops)]))

        return move

    return [Axis(part, size, mover(i)) for i, (part, size) in enumerate(zip(parts, sizes))]


def _inside(places, size):
    """The places, where those outside of an axis are replaced by the first free ones."""
    inside = [p for p in places if 0 <= p < size]
    if len(inside) == len(places):
        return places
    free = [p for p in range(size) if p not in inside]
    return np.sort(np.array([*inside, *free[: len(places) - len(inside)]], int))


def fused(axes):
    """Several axes as one, the last of them varying fastest."""
    sizes = [axis.size for axis in axes]

    def move(places):
        found = _factors(places, [len(axis) for axis in axes], sizes)
        return found is not None and _all(axis.at(part) for axis, part in zip(axes, found))

    return Axis(_product([axis.places for axis in axes], sizes), int(np.prod(sizes)), move)


def unfused(axis, lengths, sizes):
    """The reverse of `fused`, with these lengths in the base and in the motivated model."""
    if any(a > b for a, b in zip(lengths, sizes)):
        raise NoMap("a factor of an axis is longer in the base")
    found = _factors(axis.places, lengths, sizes)
    if found is None:
        found = [np.arange(n) for n in lengths]
        if not axis.at(_product(found, sizes)):
            raise NoMap("the base's channels are no product of those of several axes")

    def mover(number):
        return lambda places: axis.at(_product([*found[:number], places, *found[number + 1 :]], sizes))

    return [Axis(part, size, mover(i)) for i, (part, size) in enumerate(zip(found, sizes))]


def reordered(axis, orders):
    """The positions of both models in another order each: `orders[model][i]` is where the new `i` was."""
    now = np.argsort(orders[1])

    def move(places):
        found = np.empty(len(axis), int)
        found[orders[0]] = orders[1][places]
        return axis.at(found)

    return Axis(now[axis.places[orders[0]]], axis.size, move)


def _product(parts, sizes):
    return np.arange(np.prod(sizes)).reshape(sizes)[np.ix_(*parts)].ravel()


def _factors(places, lengths, sizes):
    """The positions on several axes whose product the places are, or None."""
    grids = [grid.reshape(lengths) for grid in np.unravel_index(places, sizes)]
    parts = [np.moveaxis(grid, axis, 0).reshape(lengths[axis], -1)[:, 0] for axis, grid in enumerate(grids)]
    different = all(len(set(part.tolist())) == len(part) for part in parts)
    return parts if different and np.array_equal(_product(parts, sizes), places) else None
