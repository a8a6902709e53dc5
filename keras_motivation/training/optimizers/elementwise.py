"""Whether an optimizer updates each entry of a weight independently, so that two variables can store one weight."""

import random
import threading
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras

# Keras's elementwise optimizers. Its others (Adafactor, Lamb, Muon), and those of other libraries, are tested.
ELEMENTWISE = {
    *("SGD", "RMSprop", "Adagrad", "Adadelta", "Lion", "Ftrl", "Adam", "AdamW", "Adamax", "Nadam"),
    "ScheduleFreeAdamW",
}
# Settings that the pair handles, or that do not matter for the test.
NEUTRAL = {
    "learning_rate": 0.05,
    "clipnorm": None,
    "global_clipnorm": None,
    "clipvalue": None,
    "use_ema": False,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
SHAPES = [((3,), (5,)), ((2, 3), (4, 5)), ((1, 1, 2, 3), (1, 1, 4, 5))]  # of a base weight, and of the widened one
STEPS = 3


def acts_elementwise(optimizer: Any) -> bool | None:
    """Whether an optimizer makes the same updates if a weight is stored in two variables.

    Copies of the optimizer train some weights with the same gradients, first whole and then in two pieces. The
    optimizer itself does not change.

    Args:
        optimizer: A Keras optimizer that updates weights itself (not a `LossScaleOptimizer` or a `MultiOptimizer`).

    Returns:
        The answer. `None` if the optimizer cannot be copied, if its copies do not train, or if two copies differ.
    """
    if _keras.stock_class(optimizer) in ELEMENTWISE:
        return True
    answers: list[bool | None] = []

    def ask() -> None:
        with keras.saving.custom_object_scope(objects):
            answers.append(_compare(optimizer))

    objects = dict(keras.saving.get_custom_objects())
    # In a separate thread, because the user may compile in a scope of `tf.distribute` or `keras.distribution`, which
    # would distribute the weights over devices. Such scopes do not apply in another thread.
    thread = threading.Thread(target=ask)
    state = random.getstate()  # Keras draws the seed of a new thread's generator from it
    thread.start()
    thread.join()
    random.setstate(state)
    return answers[0] if answers else None


def _compare(optimizer: Any) -> bool | None:
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for _, shape in SHAPES]
    gradients = [[rng.normal(size=shape) for _, shape in SHAPES] for _ in range(STEPS)]
    try:
        whole, again = (_trained(_copy(optimizer), start, gradients) for _ in range(2))
        pieces = _trained_in_pieces(_copy(optimizer), start, gradients)
    except Exception:  # of another library's code
        return None
    moved = all(np.isfinite(value).all() and not np.allclose(value, old) for value, old in zip(whole, start))
    if not moved or not _alike(whole, again):
        return None
    return _alike(whole, pieces)


def _alike(ours: list[Any], theirs: list[Any]) -> bool:
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(ours, theirs))


def _copy(optimizer: Any) -> Any:
    config = optimizer.get_config()
    return type(optimizer).from_config({**config, **{key: NEUTRAL[key] for key in config if key in NEUTRAL}})


def _trained(optimizer: Any, start: list[Any], gradients: list[list[Any]]) -> list[Any]:
    """The values of some weights after a few updates."""
    variables = [
        keras.Variable(value, dtype=keras.config.floatx(), name=f"weight_{i}") for i, value in enumerate(start)
    ]
    optimizer.build(variables)
    for step in gradients:
        tensors = [keras.ops.convert_to_tensor(gradient, keras.config.floatx()) for gradient in step]
        optimizer.apply(tensors, variables)
    return [keras.ops.convert_to_numpy(keras.ops.copy(variable.value)) for variable in variables]


def _trained_in_pieces(optimizer: Any, start: list[Any], gradients: list[list[Any]]) -> list[Any]:
    """The same, with each weight stored as in a pair: its first entries in one variable, the others in a second one."""
    slices = [tuple(slice(0, size) for size in inner) for inner, _ in SHAPES]

    def split(values: list[Any]) -> list[Any]:
        outer = [np.array(value) for value in values]
        for value, where in zip(outer, slices):
            value[where] = 0.0
        return [*(value[where] for value, where in zip(values, slices)), *outer]

    values = _trained(optimizer, split(start), [split(step) for step in gradients])
    inner, outer = values[: len(SHAPES)], [np.array(value) for value in values[len(SHAPES) :]]
    for value, piece, where in zip(outer, inner, slices):
        value[where] = piece
    return outer
