"""Checks of what a user passes in, made before anything is built or trained."""

import inspect
from typing import Any

import keras


def takes_training(model: keras.Model) -> bool:
    """Whether the model's `call` has an argument `training`; Keras passes it to those models only."""
    return "training" in inspect.signature(model.call).parameters


def check_same_interface(base: keras.Model, motivated: keras.Model) -> None:
    """Raises a `ValueError` if the two models differ in the structure or the shapes of inputs or outputs."""
    for what in ("inputs", "outputs"):
        ours, theirs = _shapes(base, what), _shapes(motivated, what)
        if ours is not None and theirs is not None and ours != theirs:
            raise ValueError(
                f"Arguments `base` and `motivated` must have the same {what}. Received: base '{base.name}' with "
                f"{what} {ours}, motivated '{motivated.name}' with {what} {theirs}"
            )


def check_optimizer(optimizer: Any) -> None:
    """Raises a `ValueError` for optimizers that add up gradients over several batches."""
    steps = getattr(getattr(optimizer, "inner_optimizer", optimizer), "gradient_accumulation_steps", None)
    if steps:
        raise ValueError(
            "Argument `optimizer` must not accumulate gradients: base and motivated batches update different sets of "
            "weights, and the accumulated gradients of one would be lost in the other. Use a larger batch. "
            f"Received: gradient_accumulation_steps={steps}"
        )


def _shapes(model: keras.Model, what: str) -> Any:
    """The shapes of a model's inputs or outputs as nested structure, or `None` where they cannot be known."""
    struct = getattr(model, f"{what}_struct" if hasattr(model, f"{what}_struct") else f"_{what}_struct", None)
    if struct is not None:
        return keras.tree.map_structure(lambda tensor: tuple(tensor.shape), struct)
    if what == "inputs":
        return None
    try:
        return keras.tree.map_structure(
            lambda tensor: tuple(tensor.shape), model.compute_output_spec(_symbolic_inputs(model))
        )
    except Exception:  # a subclassed model need not support symbolic calls; the first batch will tell
        return None


def _symbolic_inputs(model: keras.Model) -> Any:
    shapes = model.get_build_config()["input_shape"]
    return keras.KerasTensor(shapes)
