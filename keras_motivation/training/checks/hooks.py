"""Checks for training hooks that a nested model overrides. `keras.Model` would call them; the pair calls its own."""

import warnings
from collections.abc import Sequence

import keras

# A model with one of these has its own training step or its own loss. It would train differently without it.
STEPS = ("train_step", "test_step", "make_train_function", "make_test_function")
OBJECTIVE = ("compute_loss",)
# A model can be trained without these, if the user knows.
MOVE = "override it in a subclass of `MotivatedModel` instead"
IGNORED = {
    **dict.fromkeys(("compute_metrics", "get_metrics_result", "reset_metrics", "metrics"), MOVE),
    **dict.fromkeys(
        ("predict_step", "make_predict_function", "predict", "predict_on_batch"),
        "`predict` of the pair gives what the base's `call` gives; predict by `model.base` and `model.motivated`",
    ),
    **dict.fromkeys(("evaluate", "test_on_batch"), "evaluate by `model.base` and `model.motivated`"),
    **dict.fromkeys(("fit", "train_on_batch"), MOVE),
    "compile": "pass what it sets to the pair's `compile`: optimizer, loss and metrics",
}
# Libraries set defaults or run a preprocessor in these. The user passes the same to the pair instead.
CONVENIENCES = ("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")
LIBRARIES = ("keras", "keras_hub", "keras_nlp", "keras_cv")


def check_hooks(models: Sequence[keras.Model], pair: type, stock: type) -> None:
    """Refuses models that would not train as their own code says, and warns of other hooks that are not called.

    Args:
        models: The nested models.
        pair: The class of the pair. The hooks that it overrides replace those of the nested models.
        stock: `MotivatedModel`, which is this class or its parent.

    Raises:
        ValueError: If a model has its own `train_step`, `test_step` or `compute_loss`.

    Warns:
        UserWarning: If a model has other hooks that the pair does not call.
    """
    own = [(model, overridden(model)) for model in models]
    for model, hooks in own:
        refused = [hook for hook in hooks if hook in STEPS or (hook in OBJECTIVE and not _differ(pair, stock, hook))]
        if refused:
            raise ValueError(
                "Arguments `base` and `motivated` must train as a plain `keras.Model` does: the pair calls none of "
                "their training hooks. Move what these minimise into `compute_loss` of a subclass of `MotivatedModel`, "
                "into `add_loss` in the `call` of a layer, or into a loss function for `compile`. Received: "
                f"'{model.name}' of class {type(model).__name__} with {' and '.join(f'`{h}`' for h in refused)} of its "
                "own"
            )
    ignored: dict[str, list[str]] = {}  # by advice: the hooks and their models
    for model, hooks in own:
        for hook in hooks:
            if hook in IGNORED and not _differ(pair, stock, hook) and not _loses_nothing(model, hook):
                ignored.setdefault(IGNORED[hook], []).append(f"`{hook}` of '{model.name}'")
    for advice, whose in ignored.items():
        warnings.warn(f"The pair does not call {', '.join(whose)}: {advice}.", stacklevel=3)


def overridden(model: keras.Model) -> list[str]:
    """The hooks that a model, or its class, overrides."""
    hooks = (*STEPS, *OBJECTIVE, *IGNORED)
    return [hook for hook in hooks if hook in vars(model) or _differ(type(model), keras.Model, hook)]


def _differ(one: type, other: type, hook: str) -> bool:
    return getattr(one, hook) is not getattr(other, hook)


def _loses_nothing(model: keras.Model, hook: str) -> bool:
    origin = getattr(getattr(type(model), hook), "__module__", "") or ""
    return hook in CONVENIENCES and hook not in vars(model) and origin.split(".")[0] in LIBRARIES
