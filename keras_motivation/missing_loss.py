"""Refuses training without any loss, which under JAX Keras would carry out with a loss of zero."""

from typing import Any

import keras

from keras_motivation.conditions import Always, Never


def is_given(pair: Any) -> bool:
    """Whether there is a loss beside what layers add: a loss that `compile` was given, or an own `compute_loss`.

    A loss of None for each of several outputs is none.
    """
    own = type(pair).compute_loss is not keras.Model.compute_loss or "compute_loss" in vars(pair)
    return own or any(loss is not None for loss in keras.tree.flatten(pair.loss))


def check_penalties(pair: Any, level: int, penalties: list[Any], x: Any) -> bool:
    """Raises a `ValueError` if a nested model has nothing to train on; in the first step, before weights change.

    For pairs without a loss beside what their layers add. The first step also asks the model whose turn it is not.

    Args:
        pair: The pair.
        level: Position of the model that runs among the nested ones.
        penalties: What its layers have added.
        x: Inputs.

    Returns:
        Whether there is a loss. A model whose turn never comes, but which is a part of the graph, needs none.
    """
    kinds = [flag for flag, other in ((False, Always), (True, Never)) if not isinstance(pair.motivation, other)]
    train = {level for kind in kinds for level, _ in pair.loss_terms(kind)}
    if penalties and not pair._compiled_pair.all_have_penalties:
        for other in train - {level}:
            if not _adds_penalties(pair._nested[other], x, pair._takes_training[other]):
                raise ValueError(_message(pair, other))
        pair._compiled_pair.all_have_penalties = True
    elif not penalties and level in train:
        raise ValueError(_message(pair, level))
    return bool(penalties)


def nothing(y_pred: Any) -> Any:
    """A loss of zero, with a gradient of zero."""
    return sum(0.0 * keras.ops.sum(keras.ops.cast(part, keras.config.floatx())) for part in keras.tree.flatten(y_pred))


def _adds_penalties(model: keras.Model, x: Any, takes_training: bool) -> bool:
    values = [(variable, variable.value) for variable in model.variables]
    with keras.StatelessScope(state_mapping=values, collect_losses=True):
        model(x, **({"training": True} if takes_training else {}))
        return bool(model.losses)


def _message(pair: Any, level: int) -> str:
    models = pair._nested
    compiled = [model.loss for model in models if getattr(model, "loss", None) is not None]
    return (
        f"Argument `loss` of the pair's `compile` must be given: '{models[level].name}', the "
        f"{('base', 'motivated model')[level]}, has no loss to train on, and its layers add none by `add_loss`. A "
        "default that a model's own `compile` sets, as tasks of KerasHub do, is not used: name that loss. "
        f"Received: loss={pair.loss!r}"
        + (f"; '{models[0].name}' by itself was compiled with loss={compiled[0]!r}" if compiled else "")
    )
