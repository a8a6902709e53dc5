"""Whether the models still have the same variables, and train those for which the optimizer was built."""

import warnings
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.conditions import Always
from keras_motivation.nesting.weights_map import WeightsMap


def check_current(models: list[keras.Model], known: list[list[Any]]) -> None:
    """Raises a `RuntimeError` if the variables of a model are not those from the time when the pair was made.

    Args:
        models: The nested models.
        known: The variables that each had.
    """
    for model, before in zip(models, known):
        role = "motivated" if model is not models[0] else "base"
        now = model.variables
        ids, known_ids = {id(v) for v in now}, {id(v) for v in before}
        lost = [v.path for v in before if id(v) not in ids]
        if lost:
            raise RuntimeError(
                f"The {role} model '{model.name}' has other variables than when the pair was built, and the pair "
                "would not train them. To quantize, save it and quantize the loaded copy. Received a model without "
                f"{lost[:3]}{' and others' if lost[3:] else ''}"
            )
        new = [v.path for v in now if id(v) not in known_ids]
        if new:
            raise RuntimeError(
                f"The {role} model '{model.name}' has new variables since the pair was built, and the pair does not "
                "know them. If layers are built by their first call, call each model on a batch (with `training=True` "
                "if some run only in training) before you make the pair. Enable LoRA in both models before you make "
                f"it. Received a model with {new[:3]}{' and others' if new[3:] else ''}"
            )


def check_frozen_alike(maps: list[WeightsMap]) -> None:
    """Raises a `ValueError` if a shared weight is frozen in one model and trained in another."""
    differ = [e for weights_map in maps for e in weights_map.entries if e.base.trainable != e.motivated.trainable]
    if differ:
        raise ValueError(
            "A shared weight must be trainable in all models or in none: set `trainable` of the layer alike in "
            "each. Received: "
            + ", ".join(
                f"'{e.base.path}' (base: trainable={e.base.trainable}, motivated: {e.motivated.trainable})"
                for e in differ[:5]
            )
        )


def check_trained(trainable: list[Any], optimizer: Any) -> None:
    """Raises a `ValueError` if an optimizer was built for other variables than those that will be trained now."""
    if not getattr(optimizer, "built", False):
        return
    known, now = _keras.optimized_variables(optimizer), trainable
    if [id(v) for v in known] == [id(v) for v in now]:
        return
    changes = []
    for what, these, others in (("no longer", known, now), ("newly", now, known)):
        ids = {id(v) for v in others}
        paths = [v.path for v in these if id(v) not in ids]
        changes += [f"{what} trainable: {paths[:5]}{' and others' if paths[5:] else ''}"] if paths else []
    raise ValueError(
        "The optimizer was built for other weights than those that are trainable now: after a change of `trainable`, "
        f"call `compile` again, with a new optimizer. Received: {'; '.join(changes) or 'another order of the weights'}"
    )


def warn_of_nothing_to_train(base: keras.Model, trainable: list[Any], condition: Any) -> None:
    """Warns if base batches, or all batches, have nothing to train."""
    if not trainable:
        warnings.warn("No model has any trainable weights: training will change nothing.", stacklevel=3)
    elif not base.trainable_variables and not isinstance(condition, Always):
        warnings.warn(
            f"The base '{base.name}' has no trainable weights: base batches will train nothing, and only motivated "
            'batches train the extension. To train on every batch, pass `motivation="always"`.',
            stacklevel=3,
        )
