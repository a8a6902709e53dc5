"""Levels: the kinds of batches. Each kind is a list of nested models with the weights of their losses."""

from collections.abc import Sequence
from typing import Any

# The terms of the sum that a batch minimises, as (position of a nested model, weight of its loss), the smallest first.
Terms = tuple[tuple[int, float], ...]
NAMES = ("alternate", "joint")


def levels_of(motivated_batch: Any, sizes: int) -> tuple[Terms, ...]:
    """The kinds of batches by level, from an argument of `compile`.

    Args:
        motivated_batch: "alternate", "joint", or one weight for each nested model; or a list of these.
        sizes: Number of nested models.

    Returns:
        The terms of each level. Level 0 is the smallest model alone. Then each element of `motivated_batch` adds
        `sizes - 1` levels: in the first of them the largest model is the second smallest, and so on.

    Raises:
        ValueError: If `motivated_batch` is anything else.
    """
    kinds = motivated_batch if _is_list_of_kinds(motivated_batch) else [motivated_batch]
    found: list[Terms] = [((0, 1.0),)]
    for kind in kinds:
        weights = _weights(kind, sizes, motivated_batch)
        for largest in range(1, sizes):
            own = weights if weights is not None else tuple(float(size == largest) for size in range(sizes))
            found.append(tuple((size, own[size]) for size in range(largest + 1) if own[size]))
    if not all(found):
        raise ValueError(_message(motivated_batch, sizes))
    return tuple(found)


def largest_of(terms: Terms) -> int:
    """The position of the largest model that a kind of batch trains."""
    return max(size for size, _ in terms)


def _is_list_of_kinds(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(kind, (str, list, tuple)) for kind in value)


def _weights(kind: Any, sizes: int, given: Any) -> tuple[float, ...] | None:
    """The weights of the models' losses; None for the largest model of the level alone."""
    if kind == "alternate":
        return None
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
        f"Argument `motivated_batch` must be one of {NAMES}, or {sizes} weights of at least 0, of the models' losses "
        "(the smallest model first), which leave no kind of batch without a loss; or a list of these. Received: "
        f"motivated_batch={given!r}"
    )
