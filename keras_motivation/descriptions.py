"""What a saved pair was, in the file itself, so that a file that does not fit is told by name.

Keras's weights files hold numbers in an order. They fit as long as the shapes do: another optimizer with as many
variables, another condition or another weights map would be loaded without a word.
"""

import hashlib
import json
from typing import Any

import keras
import numpy as np


def describe(pair: Any) -> dict[str, Any]:
    """The pair as plain data. Names are for messages: Keras numbers its own anew in every process.

    Args:
        pair: A `MotivatedModel`.

    Returns:
        The models' variables, the map, the optimizer and the condition, each as far as its state depends on it.
    """
    found = {
        "base": _variables(pair.weights_map.base),
        "motivated": _variables(pair.weights_map.motivated),
        "weights_map": [
            [i, j, None if index is None else hashlib.sha256(json.dumps(index).encode()).hexdigest()[:16]]
            for i, j, index in pair.weights_map.get_config()["entries"]
        ],
        "statistics": pair.statistics,
        "optimizer": None,
        "motivation": None,
    }
    if pair.compiled:
        parts = {"optimizer": pair.optimizer, "motivation": pair.motivation}
        found |= {
            name: {"class": _class_name(part), "variables": _variables(part)}
            for name, part in parts.items()
            if part is not None
        }
    return found


def encode(description: dict[str, Any]) -> np.ndarray:
    """As bytes in an array, which is all that a weights file holds."""
    return np.frombuffer(json.dumps(description).encode(), dtype="uint8")


def decode(array: Any) -> Any:
    """The reverse. Raises a `ValueError` for anything else."""
    try:
        return json.loads(np.asarray(array, dtype="uint8").tobytes())
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The file's description of its pair cannot be read: {error}") from error


def differences(pair: dict[str, Any], file: Any) -> list[str]:
    """In which ways a file does not fit a pair, one line each; empty if it fits.

    Args:
        pair: The pair's description.
        file: The file's, which may be anything.

    Returns:
        The lines. Optimizer and condition are compared where both sides have one: weights alone fit any.
    """
    try:
        found = _different_variables("base", pair["base"], file["base"])
        found += _different_variables("motivated", pair["motivated"], file["motivated"])
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
    """With what it wraps, as `LossScaleOptimizer`, `MultiOptimizer` and `Between` do."""
    wrapped = [getattr(thing, name, None) for name in ("inner_optimizer", "condition")]
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
    ours, theirs = ({tuple(entry) for entry in side["weights_map"]} for side in (pair, file))
    if ours == theirs:
        return []
    names = [path for path, _ in pair["motivated"]]
    which = sorted({names[j] for _, j, _ in ours ^ theirs})
    listed = ", ".join(f"'{name}'" for name in which[:3]) + (f" and {len(which) - 3} more" if len(which) > 3 else "")
    return [f"weights map: the base's weights stand elsewhere in the motivated model's {listed}"]
