"""The optimizers inside an optimizer, and how a `MultiOptimizer` updates a part of its weights."""

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
    """The optimizers that update weights: the optimizer itself, or the known ones of a `MultiOptimizer`."""
    optimizer = inner(optimizer)
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else [optimizer]


def part_of(optimizer: Any, variable: Any) -> Any:
    """The optimizer that updates a variable. A user's callable may create a new one for each variable."""
    optimizer = inner(optimizer)
    if not isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return optimizer
    return _keras.optimizer_map(optimizer)(variable)


def accumulation_steps(optimizer: Any) -> int:
    """Number of batches whose gradients make one update; of several optimizers, until all have made an update."""
    return math.lcm(*(part.gradient_accumulation_steps or 1 for part in parts(optimizer)))


@contextlib.contextmanager
def taking_subsets(optimizer: Any) -> Iterator[None]:
    """A context in which a `MultiOptimizer` accepts gradients of some of its variables, as every other optimizer does.

    Keras's own requires all gradients, and at least one for each part.
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
        elif own:  # so that schedules and accumulation windows of all parts stay in step
            steps = _keras.optimizer_steps(part)
            steps.assign(steps.value + 1)
    steps = _keras.optimizer_steps(optimizer)
    steps.assign(steps.value + 1)
