"""Whether models can be nested: they need the same inputs and outputs, and constraints that fit."""

from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.nesting.entry import check_built
from keras_motivation.nesting.weights_map import WeightsMap


def nested_models(base: Any, motivated: Any) -> list[keras.Model]:
    """The models from the arguments of `MotivatedModel`, the smallest first.

    Raises:
        ValueError: If a model is not built, if inputs or outputs differ, or if models share variables.
        TypeError: If an argument is not a model or, for `motivated`, a list of models.
    """
    larger = list(motivated) if isinstance(motivated, (list, tuple)) else [motivated]
    if not larger:
        raise ValueError("Argument `motivated` must be a model or a list of at least one. Received: an empty list")
    check_built("base", base)
    for model in larger:
        check_built("motivated", model)
    nested = [base, *larger]
    for inner, outer in pairwise(nested):
        _check_pair(inner, outer)
    owners: dict[int, str] = {}
    for model in nested:
        shared = [v.path for v in model.variables if id(v) in owners]
        if shared:
            raise ValueError(
                "Arguments `base` and `motivated` must not share variables: build each with layers of its own (clone a "
                f"shared preprocessing layer). Received two models with the same variable in both: {shared[:5]}"
            )
        owners |= {id(v): model.name for v in model.variables}
    return nested


def maps_of(nested: list[keras.Model], given: Any, x: Any) -> list[WeightsMap]:
    """The `WeightsMap` of each model into the next one: the given one, or an inferred one.

    Args:
        nested: The models, the smallest first.
        given: `None`, a map, or a list of maps and `None`.
        x: A batch of the user's data, or `None`.

    Raises:
        ValueError: If a map is of other models, does not fit, or cannot be inferred.
        TypeError: If `given` is something else.
    """
    count = len(nested) - 1
    each = list(given) if isinstance(given, (list, tuple)) else [given, *[None] * (count - 1)]
    if len(each) != count:
        raise ValueError(
            f"Argument `weights_map` must have a map, or None, for each of the {count} motivated models. Received: "
            f"{len(each)}"
        )
    found = []
    for (inner, outer), weights_map in zip(pairwise(nested), each):
        weights_map = WeightsMap.infer(inner, outer, x=x) if weights_map is None else weights_map
        _check_map(weights_map, inner, outer)
        if weights_map.x is None:
            weights_map.use(x)
        check_constraints(weights_map)
        found.append(weights_map)
    return found


def _check_pair(base: keras.Model, motivated: keras.Model) -> None:
    for what in ("inputs", "outputs"):
        ours, theirs = _specs(base, what), _specs(motivated, what)
        if ours is not None and theirs is not None and not _compatible(ours, theirs):
            raise ValueError(
                f"Arguments `base` and `motivated` must have the same {what}. Received: base '{base.name}' with "
                f"{what} {ours}, motivated '{motivated.name}' with {what} {theirs}"
            )


def _check_map(weights_map: Any, base: keras.Model, motivated: keras.Model) -> None:
    """Raises a `TypeError` or a `ValueError` unless `weights_map` is a `WeightsMap` of these two models."""
    if not isinstance(weights_map, WeightsMap):
        raise TypeError(f"Argument `weights_map` must be a `WeightsMap` or None. Received: {weights_map!r}")
    if weights_map.base is not base or weights_map.motivated is not motivated:
        raise ValueError(
            "Argument `weights_map` must have been made for these two models. Received a map of "
            f"'{weights_map.base.name}' in '{weights_map.motivated.name}'."
        )


def check_constraints(weights_map: WeightsMap) -> None:
    """Raises a `ValueError` for constraints that differ between the models, or that do not act on single entries.

    The constraints are tested on random values, because a constraint may be any function.
    """
    random = np.random.default_rng(0)
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        ours, theirs = entry.base.constraint, entry.motivated.constraint
        if (ours is None and theirs is None) or not entry.base.trainable:
            continue
        values = 3 * random.normal(size=entry.motivated.shape).astype("float32")
        part = ops.convert_to_numpy(placement.take(values))
        if not _alike(_constrained(ours, part), _constrained(theirs, part)):
            raise ValueError(
                "A shared weight must have the same constraint in both models: give its layer the same in both. "
                f"Received: '{entry.base.path}' with {ours} in the base and {theirs} in the motivated model"
            )
        whole, hollow = (_constrained(theirs, v) for v in (values, np.where(placement.mask, 0, values)))
        inner_alike = _alike(placement.take(whole), _constrained(ours, part))
        if not (inner_alike and _alike(*(np.where(placement.mask, 0, found) for found in (whole, hollow)))):
            raise ValueError(
                "A widened weight is stored in two pieces, so its constraint must act on each piece by itself, as "
                "`NonNeg` and clipping do. A constraint on a norm would project each piece separately. Remove it, or "
                f"keep the layer's width. Received: '{entry.base.path}' with {ours}"
            )


def _constrained(constraint: Any, values: np.ndarray) -> np.ndarray:
    tensor = ops.convert_to_tensor(values.copy())  # a copy, because the user's function may change it
    return ops.convert_to_numpy(tensor if constraint is None else constraint(tensor))


def _alike(one: Any, other: Any) -> bool:
    return np.allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-5, atol=1e-6)


def _specs(model: keras.Model, what: str) -> Any:
    """Shapes of a model's inputs, or shapes and dtypes of its outputs, nested; `None` if they are not known."""
    if what == "inputs":
        tensors = getattr(model, "inputs", None)
        return None if not tensors else [tuple(tensor.shape) for tensor in tensors]
    tensors = _keras.outputs_struct(model)
    try:
        if tensors is None:
            tensors = model.compute_output_spec(keras.KerasTensor(model.get_build_config()["input_shape"]))
        return keras.tree.map_structure(lambda t: (*t.shape, t.dtype), tensors)
    except Exception:  # a subclassed model may not support symbolic calls; the first batch shows it
        return None


def _compatible(ours: Any, theirs: Any) -> bool:
    """Whether both are equal. An unknown dimension fits any other."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_compatible(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(_compatible(a, b) for a, b in zip(ours, theirs))
    return ours is None or theirs is None or ours == theirs
