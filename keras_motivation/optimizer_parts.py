"""The optimizers that an optimizer is made of, and how one made of several takes a part of its weights."""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation import _keras


def inner(optimizer: Any) -> Any:
    """The optimizer itself, without the `LossScaleOptimizer` around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def parts(optimizer: Any) -> list[Any]:
    """The optimizers that update weights: those of a `MultiOptimizer` (as far as they are known), else the one."""
    optimizer = inner(optimizer)
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else [optimizer]


def part_of(optimizer: Any, variable: Any) -> Any:
    """The optimizer that is to update a variable. A user's callable may make one for each that it sees."""
    optimizer = inner(optimizer)
    if not isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return optimizer
    return _keras.optimizer_map(optimizer)(variable)


def accumulation_steps(optimizer: Any) -> int:
    """How many batches' gradients an optimizer gathers for one update; of several, until all have updated."""
    return math.lcm(*(part.gradient_accumulation_steps or 1 for part in parts(optimizer)))


@contextlib.contextmanager
def taking_subsets(optimizer: Any) -> Iterator[None]:
    """While this lasts, a `MultiOptimizer` takes gradients of some of its variables, as every other optimizer does.

    Keras's wants all of them, and each part to have at least one.
    """
    optimizer = inner(optimizer)
    if not isinstance(optimizer, keras.optimizers.MultiOptimizer):
        yield
        return
    with _keras.method_replaced(optimizer, "apply", functools.partial(_apply, optimizer)):
        yield


def _apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> None:
    if not optimizer.built:
        optimizer.build(list(trainable_variables))
    variables = _keras.optimized_variables(optimizer) if trainable_variables is None else trainable_variables
    gradients = {id(v): g for v, g in zip(variables, grads, strict=True)}
    for part in parts(optimizer):
        own = _keras.optimized_variables(part)
        taken = [(g, v) for v in own if (g := gradients.get(id(v))) is not None]
        if taken:
            part.apply(*(list(column) for column in zip(*taken)))
        elif own:  # so that schedules and windows of accumulation of all parts stay together
            steps = _keras.optimizer_steps(part)
            steps.assign(steps.value + 1)
    steps = _keras.optimizer_steps(optimizer)
    steps.assign(steps.value + 1)
