"""Weights that join a training late start as if they had been there from the first update.

Adam and similar optimizers correct the bias of their moving averages. The correction depends on the number of updates
of the whole optimizer. If the extension joins at update 300, its averages are still empty, and this correction would
make its steps several times too large. So the extension's weights are updated with a separate count.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.training.optimizers.parts import accumulation_steps, parts

# Keras's optimizers whose update does not depend on the number of updates before.
WITHOUT_COUNT = {"SGD", "RMSprop", "Adagrad", "Adadelta", "Lion", "Ftrl"}


@contextlib.contextmanager
def counting_apart(optimizer: Any, late: list[tuple[list[Any], Any]]) -> Iterator[None]:
    """A context in which an optimizer updates some variables with counts of their own, and all others as usual.

    For all, the learning rate and weight decay follow the optimizer's count.

    Args:
        optimizer: The optimizer, perhaps one that contains others.
        late: Groups of variables, each with its count: a scalar integer tensor, the number of batches in the updates of
            these variables so far, in whole windows of gradient accumulation. Without groups, nothing changes.
    """
    groups = [({id(variable) for variable in variables}, count) for variables, count in late if variables]
    window = accumulation_steps(optimizer)
    with contextlib.ExitStack() as stack:
        for part in parts(optimizer) if groups else []:
            if _keras.stock_class(part) not in WITHOUT_COUNT:
                original = _keras.update_steps(part)
                update = functools.partial(_update, part, original, groups, window)
                stack.enter_context(_keras.method_replaced(part, original.__name__, update))
        yield


def _update(
    optimizer: Any,
    original: Callable[..., None],
    groups: list[tuple[set[int], Any]],
    window: int,
    grads: list[Any],
    variables: list[Any],
    learning_rate: Any,
) -> None:
    late = set[int]().union(*(ids for ids, _ in groups))
    now = [pair for pair in zip(grads, variables) if id(pair[1]) not in late]
    steps, product = _keras.optimizer_steps(optimizer), _keras.momentum_product(optimizer)
    product_before = None if product is None else ops.copy(product.value)
    if now:
        original(*map(list, zip(*now)), learning_rate)
    if len(now) == len(variables):
        return
    steps_now = ops.copy(steps.value)
    product_now = None if product is None else ops.copy(product.value)
    try:
        for ids, count in groups:
            then = [pair for pair in zip(grads, variables) if id(pair[1]) in ids]
            if not then:
                continue
            # The present window has the same number of batches as the optimizer's, because its batches are of one kind.
            own = ops.cast(count, steps_now.dtype) + (steps_now % window if window > 1 else 0)
            steps.assign(own)
            if product is not None:
                updates = own // (optimizer.gradient_accumulation_steps or 1)
                table = _product_after(updates, optimizer.beta_1, product.dtype)
                product.assign(ops.where(own == steps_now, product_before, table))
            original(*map(list, zip(*then)), learning_rate)
    finally:
        steps.assign(steps_now)
        if product is not None and now:
            product.assign(product_now)


def _product_after(updates: Any, beta: float, dtype: str) -> Any:
    """Nadam's product of momenta after a number of updates; the momentum of update i is beta * (1 - 0.96**i / 2)."""
    factors = np.concatenate([[1.0], np.cumprod(1.0 - 0.5 * 0.96 ** np.arange(1, 1024))])  # constant from here on
    factor = ops.take(ops.convert_to_tensor(factors, dtype), ops.minimum(updates, len(factors) - 1))
    return factor * ops.power(ops.convert_to_tensor(beta, dtype), ops.cast(updates, dtype))
