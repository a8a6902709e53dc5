"""Converts a weights map to plain data and back."""

import itertools
from typing import Any

import keras
import numpy as np

from keras_motivation.nesting.entry import Entry
from keras_motivation.nesting.placement import Index, positions


def to_config(weights_map: Any) -> dict[str, Any]:
    """The config of a `WeightsMap`: positions among the models' variables, and index arrays as lists."""
    inner = {id(v): i for i, v in enumerate(weights_map.base.variables)}
    outer = {id(v): i for i, v in enumerate(weights_map.motivated.variables)}
    return {
        "entries": [
            [inner[id(e.base)], outer[id(e.motivated)], None if p.prefix else _to_lists(e.index, e.motivated.shape)]
            for e, p in zip(weights_map.entries, weights_map.placements)
        ]
    }


def entries_of(config: dict[str, Any], base: keras.Model, motivated: keras.Model) -> list[Entry]:
    """The entries that a config lists.

    Raises:
        ValueError: If it is not the config of a weights map, or does not fit the models.
    """
    try:
        return [_entry(base.variables, motivated.variables, *line) for line in config["entries"]]
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ValueError(
            "The config of a weights map must hold `entries`: a list of [position in `base.variables`, position in "
            "`motivated.variables`, None or a list of positions for each axis]. "
            f"Received: {str(config)[:200]} ({type(error).__name__}: {error})"
        ) from error


def _to_lists(index: Index | None, shape: Any) -> list[list[int]]:
    return [axis.tolist() for axis in positions(index or (), shape)]


def _entry(inner: list[Any], outer: list[Any], i: Any, j: Any, index: Any) -> Entry:
    if not all(isinstance(n, int) and n >= 0 for n in (i, j, *itertools.chain(*(index or [])))):
        raise ValueError("positions are integers of at least 0")
    return Entry(inner[i], outer[j], None if index is None else tuple(np.array(axis, "int64") for axis in index))
