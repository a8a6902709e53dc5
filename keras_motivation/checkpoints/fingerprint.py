"""A description of the pair in its file, so that the error for a file that does not fit can name the difference.

Keras's weights files have only arrays in an order, and they fit if the shapes fit. So another optimizer with the same
number of variables, another condition or another weights map would be loaded without any message.
"""

import hashlib
import json
from typing import Any

import keras
import numpy as np

from keras_motivation.interface import Pair


def describe(pair: Pair) -> dict[str, Any]:
    """Describes the pair as plain data. Names are only for messages, because Keras's numbers differ between processes.

    Args:
        pair: A `MotivatedModel`.

    Returns:
        The models' variables, the maps, the optimizer and the condition; of each, what its state depends on.
    """
    found: dict[str, Any] = {
        "models": [_variables(model) for model in pair._nested],
        "weights_maps": [
            [
                [i, j, None if index is None else hashlib.sha256(json.dumps(index).encode()).hexdigest()[:16]]
                for i, j, index in weights_map.get_config()["entries"]
            ]
            for weights_map in pair.weights_maps
        ],
        "statistics": pair.statistics,
        "optimizer": None,
        "motivation": None,
    }
    if pair.compiled:
        parts: dict[str, Any] = {"optimizer": pair.optimizer, "motivation": pair.motivation}
        found |= {
            name: {"class": _class_name(part), "variables": _variables(part)}
            for name, part in parts.items()
            if part is not None
        }
    return found


def encode(description: dict[str, Any]) -> np.ndarray:
    """Encodes the description as an array of bytes, because a weights file can only have arrays."""
    return np.frombuffer(json.dumps(description).encode(), dtype="uint8")


def decode(array: Any) -> Any:
    """The inverse of `encode`. Raises a `ValueError` for anything else."""
    try:
        return json.loads(np.asarray(array, dtype="uint8").tobytes())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The file's description of its pair cannot be read: {error}") from error


def differences(pair: dict[str, Any], file: Any) -> list[str]:
    """Lists the differences between a pair and a file, one line each; empty if the file fits.

    Args:
        pair: The pair's description.
        file: The file's description. It may be any data.

    Returns:
        The lines. Optimizer and condition are compared if both sides have one. A file that has neither fits any.
    """
    try:
        counts = [len(side["models"]) for side in (pair, file)]
        if counts[0] != counts[1]:
            return [f"models: {counts[0]} in the pair, {counts[1]} in the file"]
        found = []
        names = ["base", *("motivated" if counts[0] == 2 else f"motivated {i}" for i in range(1, counts[0]))]
        for name, ours, theirs in zip(names, pair["models"], file["models"]):
            found += _different_variables(name, ours, theirs)
        found += [] if found else _different_entries(pair, file)
        if pair["statistics"] != file["statistics"]:
            found.append(f"statistics: {pair['statistics']!r} in the pair, {file['statistics']!r} in the file")
        for part in ("optimizer", "motivation"):
            ours, theirs = pair[part], file[part]
            if ours is None or theirs is None:
                continue
            if ours["class"] != theirs["class"]:
                found.append(f"{part}: {ours['class']} in the pair, {theirs['class']} in the file")
            else:
                name = f"{part} ({ours['class']})"
                found += _different_variables(name, ours["variables"], theirs["variables"])
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        return [f"the file's description of its pair cannot be read ({type(error).__name__}: {error})"]
    return found


def _variables(owner: Any) -> list[list[Any]]:
    return [[v.path, list(v.shape)] for v in owner.variables]


def _class_name(thing: Any) -> str:
    """The registered name, and the names of the objects inside (`LossScaleOptimizer`, `MultiOptimizer`, `Budget`)."""
    wrapped = [getattr(thing, "inner_optimizer", None)]
    wrapped += getattr(thing, "inner_conditions", list)()
    wrapped += thing.optimizers if isinstance(thing, keras.optimizers.MultiOptimizer) else []
    names = [_class_name(part) for part in wrapped if part is not None]
    return keras.saving.get_registered_name(type(thing)) + (f"({', '.join(names)})" if names else "")


def _different_variables(name: str, ours: list[Any], theirs: list[Any]) -> list[str]:
    different = [(i, our, their) for i, (our, their) in enumerate(zip(ours, theirs)) if our[1] != their[1]]
    found = [
        f"{name}: variable {i} is '{our[0]}' {tuple(our[1])} in the pair, '{their[0]}' {tuple(their[1])} in the file"
        for i, our, their in different[:3]
    ]
    if len(different) > 3:
        found.append(f"{name}: and {len(different) - 3} more")
    if len(ours) != len(theirs):
        found.append(f"{name}: {len(ours)} variables in the pair, {len(theirs)} in the file")
    return found


def _different_entries(pair: dict[str, Any], file: Any) -> list[str]:
    found = []
    for variables, *maps in zip(pair["models"][1:], pair["weights_maps"], file["weights_maps"]):
        ours, theirs = ({tuple(entry) for entry in entries} for entries in maps)
        which = sorted({variables[j][0] for _, j, _ in ours ^ theirs})
        if which:
            more = f" and {len(which) - 3} more" if len(which) > 3 else ""
            listed = ", ".join(f"'{name}'" for name in which[:3]) + more
            found.append(f"weights map: the base's weights have other positions in the motivated model's {listed}")
    return found
