"""Refuses training without any loss. Under JAX, Keras would train with a loss of zero."""

from typing import Any

import keras

from keras_motivation.conditions import Always, Never
from keras_motivation.interface import Pair
from keras_motivation.training.checks.hooks import overridden


def is_given(pair: Pair, stock: type) -> bool:
    """Whether there is a loss besides those that layers add: one passed to `compile`, or an overridden `compute_loss`.

    If each of several outputs has the loss None, there is none.

    Args:
        pair: The pair.
        stock: `MotivatedModel`, which is the pair's class or its parent.
    """
    own = type(pair).compute_loss is not stock.compute_loss or "compute_loss" in vars(pair)  # type: ignore[attr-defined]
    own = own or all("compute_loss" in overridden(model) for model in pair._nested)
    return own or any(loss is not None for loss in keras.tree.flatten(pair.loss))


def check_penalties(pair: Pair, size: int, penalties: list[Any], x: Any) -> bool:
    """Raises a `ValueError` if a nested model has no loss to train on. Runs in the first step, before weights change.

    This is for models that have only the losses that their layers add. The first step checks all of them.

    Args:
        pair: The pair.
        size: Position, among the nested models, of the model that runs.
        penalties: The losses that its layers have added.
        x: Inputs.

    Returns:
        Whether there is a loss. A model that is a part of the graph but never trains needs none.
    """
    kinds = pair._compiled_pair.kinds
    only = {Always: kinds.highest, Never: 0}.get(type(pair.motivation))  # type: ignore[arg-type]
    train = {size for terms in (kinds.terms if only is None else kinds.of(only)) for size, _ in terms}
    if penalties and not pair._compiled_pair.all_have_penalties:
        for other in train - {size}:
            if not _adds_penalties(pair._nested[other], x, pair._takes_training[other]):
                raise ValueError(_message(pair, other))
        pair._compiled_pair.all_have_penalties = True
    elif not penalties and size in train:
        raise ValueError(_message(pair, size))
    return bool(penalties)


def nothing(y_pred: Any) -> Any:
    """A loss of zero, with a gradient of zero."""
    return sum(0.0 * keras.ops.sum(keras.ops.cast(part, keras.config.floatx())) for part in keras.tree.flatten(y_pred))


def _adds_penalties(model: keras.Model, x: Any, takes_training: bool) -> bool:
    values = [(variable, variable.value) for variable in model.variables]
    with keras.StatelessScope(state_mapping=values, collect_losses=True):
        model(x, **({"training": True} if takes_training else {}))
        return bool(model.losses)


def _message(pair: Pair, size: int) -> str:
    models = pair._nested
    role = "a motivated model" if size else "the base"
    return (
        f"Argument `loss` of the pair's `compile` must be given: '{models[size].name}', {role}, has no loss to train "
        "on, and its layers add none by `add_loss`. (A loss with which you compiled that model itself is not used.) "
        f"Received: loss={pair.loss!r}"
    )
