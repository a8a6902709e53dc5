"""Levels, and the kinds of batches at each. A kind is a list of nested models with the weights of their losses."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# The terms of the sum that a batch minimises, as (position of a nested model, weight of its loss), the smallest first.
Terms = tuple[tuple[int, float], ...]
SANDWICH = "sandwich"
NAMES = ("alternate", "joint", SANDWICH)


@dataclass(frozen=True)
class Kinds:
    """The kinds of batches. A level has one kind; or several, of which one is drawn for each batch.

    Attributes:
        terms: The terms of each kind, in the order of the levels.
        levels: The level of each kind.
    """

    terms: tuple[Terms, ...]
    levels: tuple[int, ...]

    @property
    def highest(self) -> int:
        """The highest level."""
        return self.levels[-1]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of kinds at each level."""
        return tuple(self.levels.count(level) for level in range(self.highest + 1))

    def of(self, level: int) -> tuple[Terms, ...]:
        """The terms of the kinds at a level."""
        return tuple(terms for terms, own in zip(self.terms, self.levels) if own == level)


def kinds_of(motivated_batch: Any, sizes: int) -> Kinds:
    """The kinds of batches, from an argument of `compile`.

    Args:
        motivated_batch: "alternate", "joint", "sandwich", ("sandwich", n), or one weight for each nested model; or a
            list of these.
        sizes: Number of nested models.

    Returns:
        The kinds. Level 0 is the smallest model alone. Then each element of `motivated_batch` adds `sizes - 1` levels:
        in the first of them the largest model is the second smallest, and so on.

    Raises:
        ValueError: If `motivated_batch` is anything else.
    """
    given = motivated_batch if _is_list_of_kinds(motivated_batch) else [motivated_batch]
    found: list[list[Terms]] = [[((0, 1.0),)]]
    for kind in given:
        weights = None if kind == "alternate" or _between(kind) else _weights(kind, sizes, motivated_batch)
        for largest in range(1, sizes):
            if between := _between(kind):
                found.append([tuple((size, 1.0) for size in each) for each in _sandwiches(largest, between)])
            else:
                own = weights if weights is not None else tuple(float(size == largest) for size in range(sizes))
                found.append([tuple((size, own[size]) for size in range(largest + 1) if own[size])])
    if not all(terms for level in found for terms in level):
        raise ValueError(_message(motivated_batch, sizes))
    levels = tuple(level for level, own in enumerate(found) for _ in own)
    return Kinds(tuple(terms for own in found for terms in own), levels)


def largest_of(terms: Terms) -> int:
    """The position of the largest model that a kind of batch trains."""
    return max(size for size, _ in terms)


def _sandwiches(largest: int, between: int) -> list[tuple[int, ...]]:
    """The smallest and a largest model, with each choice of models in between; with all of them if there are few."""
    middle = range(1, largest)
    return [(0, *chosen, largest) for chosen in itertools.combinations(middle, min(between, len(middle)))]


def _between(kind: Any) -> int:
    """How many models a sandwich has between the smallest and the largest; 0 if it is none."""
    if kind == SANDWICH:
        return 1
    pair = isinstance(kind, (list, tuple)) and len(kind) == 2 and kind[0] == SANDWICH
    number = kind[1] if pair else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 1 else 0


def _is_list_of_kinds(value: Any) -> bool:
    is_list = isinstance(value, (list, tuple)) and any(isinstance(kind, (str, list, tuple)) for kind in value)
    return is_list and not _between(value)


def _weights(kind: Any, sizes: int, given: Any) -> tuple[float, ...]:
    """The weights of the models' losses."""
    weights: Sequence[Any] = (1.0,) * sizes if kind == "joint" else kind
    try:
        found = tuple(float(weight) for weight in weights)
    except (TypeError, ValueError):
        found = ()
    if isinstance(weights, str) or len(found) != sizes or not (min(found) >= 0 and 0 < sum(found) < float("inf")):
        raise ValueError(_message(given, sizes))
    return found


def _message(given: Any, sizes: int) -> str:
    return (
        f'Argument `motivated_batch` must be one of {NAMES}, ("{SANDWICH}", n) with n of at least 1, or {sizes} '
        "weights of at least 0, of the models' losses (the smallest model first), which leave no kind of batch without "
        f"a loss; or a list of these. Received: motivated_batch={given!r}"
    )
