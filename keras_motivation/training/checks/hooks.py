"""Checks for training hooks that a nested model overrides: which the pair calls, and which it cannot."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras

# A model with one of these has its own training step. It would train differently without it.
STEPS = (
    "train_step",
    "test_step",
    "make_train_function",
    "make_test_function",
    "compute_loss_and_updates",  # JAX
    "stateless_compute_loss",
)
UNPACKING = ("train_step", "test_step")
DETECTORS = ("keras_cv.src.models.object_detection.retinanet.", "keras_cv.src.models.object_detection.yolo_v8.")
# The pair calls these of the nested models.
OBJECTIVE = ("compute_loss", "compute_metrics", "get_metrics_result", "reset_metrics", "metrics")
PREDICTION = ("predict_step", "make_predict_function", "predict", "predict_on_batch")
COMPILE = ("compile",)
# A model can be trained without these, if the user knows.
MOVE = "override it in a subclass of `MotivatedModel` instead"
IGNORED = {
    **dict.fromkeys(("evaluate", "test_on_batch"), "evaluate by `model.base` and `model.motivated`"),
    **dict.fromkeys(("fit", "train_on_batch"), MOVE),
}
# In KerasHub's tasks, these run the preprocessor, as the pair does.
PIPELINE = ("fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch")


def check_hooks(models: Sequence[keras.Model], pair: type, stock: type) -> None:
    """Refuses models that would not train as their own code says, and warns of other hooks that are not called.

    Args:
        models: The nested models.
        pair: The class of the pair. The hooks that it overrides replace those of the nested models.
        stock: `MotivatedModel`, which is this class or its parent.

    Raises:
        ValueError: If a model has its own training or test step.

    Warns:
        UserWarning: If a model has other hooks that the pair does not call.
    """
    own = [(model, overridden(model)) for model in models]
    for model, hooks in own:
        if refused := [hook for hook in hooks if hook in STEPS and not (hook in UNPACKING and takes_boxes(model))]:
            raise ValueError(
                "Arguments `base` and `motivated` must train by the training step of `keras.Model`: the pair has a "
                "step of its own, and does not call theirs. Move what these minimise into a `compute_loss` of the "
                "models, which the pair calls; into `add_loss` in the `call` of a layer; or into a loss function for "
                f"`compile`. Received: '{model.name}' of class {type(model).__name__} with "
                f"{' and '.join(f'`{h}`' for h in refused)} of its own"
            )
    ignored: dict[str, list[str]] = {}  # by advice: the hooks and their models
    for model, hooks in own:
        for hook in hooks:
            if hook in IGNORED and not _differ(pair, stock, hook) and not _in_pipeline(model, hook):
                ignored.setdefault(IGNORED[hook], []).append(f"`{hook}` of '{model.name}'")
    for advice, whose in ignored.items():
        warnings.warn(f"The pair does not call {', '.join(whose)}: {advice}.", stacklevel=3)


def overridden(model: keras.Model) -> list[str]:
    """The hooks that a model, or its class, overrides."""
    hooks = (*STEPS, *OBJECTIVE, *PREDICTION, *COMPILE, *IGNORED)
    return [hook for hook in hooks if hook in vars(model) or _differ(type(model), keras.Model, hook)]


def takes_boxes(model: keras.Model) -> bool:
    """Whether a model is a detector of KerasCV, or a subclass that has its step.

    Their `train_step` and `test_step` only take a batch apart, which may be a dictionary, before Keras's step.
    """
    return all(getattr(type(model), hook).__module__.startswith(DETECTORS) for hook in UNPACKING)


def own_prediction(model: keras.Model) -> bool:
    """Whether a model predicts by methods of its own, besides running a preprocessor."""
    return any(hook in PREDICTION and not _in_pipeline(model, hook) for hook in overridden(model))


def pipeline_of(model: keras.Model) -> Any:
    """The class, among those of a model, that preprocesses raw data in `fit` and the like; None if there is none.

    It is KerasHub's `PipelineModel`. Which one is seen by its method, because KerasHub may not be installed.
    """
    kinds = type(model).__mro__
    return next((kind for kind in kinds if {"preprocess_samples", "fit", "evaluate"} <= set(vars(kind))), None)


def _differ(one: type, other: type, hook: str) -> bool:
    return getattr(one, hook, None) is not getattr(other, hook, None)


def _in_pipeline(model: keras.Model, hook: str) -> bool:
    pipeline = pipeline_of(model)
    own = hook in vars(model) or pipeline is None or hook not in PIPELINE
    return not own and getattr(type(model), hook) is getattr(pipeline, hook)
