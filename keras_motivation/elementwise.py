"""Whether an optimizer acts on each entry of a weight by itself, so that it may be stored in two variables."""

import random
import threading
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras

# Keras's own that do. The others (Adafactor, Lamb, Muon), and whatever is not Keras's, are asked.
ELEMENTWISE = {
    *("SGD", "RMSprop", "Adagrad", "Adadelta", "Lion", "Ftrl", "Adam", "AdamW", "Adamax", "Nadam"),
    "ScheduleFreeAdamW",
}
# Handled by the pair, or without effect on the question.
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
SHAPES = [((3,), (5,)), ((2, 3), (4, 5)), ((1, 1, 2, 3), (1, 1, 4, 5))]  # of a base weight, and of one around it
STEPS = 3


def acts_elementwise(optimizer: Any) -> bool | None:
    """Whether it makes no difference to an optimizer if a weight is stored in two variables.

    Some weights are trained by a copy of the optimizer, whole and in two pieces, with the same gradients. The optimizer
    itself is left alone.

    Args:
        optimizer: A Keras optimizer that updates weights itself (no `LossScaleOptimizer`, no `MultiOptimizer`).

    Returns:
        The answer, or `None` if it cannot be copied, or its copies do not train, or not twice alike.
    """
    if _keras.stock_class(optimizer) in ELEMENTWISE:
        return True
    answers: list[bool | None] = []

    def ask() -> None:
        with keras.saving.custom_object_scope(objects):
            answers.append(_compare(optimizer))

    objects = dict(keras.saving.get_custom_objects())
    # In a thread of its own, since the scopes that a user may compile in do not reach there: those of a strategy of
    # `tf.distribute` and of `keras.distribution`, which would spread the weights over devices.
    thread = threading.Thread(target=ask)
    state = random.getstate()  # from which Keras draws the seed of a new thread's generator
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
    except Exception:  # of somebody else's code
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
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def _trained_in_pieces(optimizer: Any, start: list[Any], gradients: list[list[Any]]) -> list[Any]:
    """The same, with each weight stored as in a pair: its first entries in one variable, the others in another."""
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
