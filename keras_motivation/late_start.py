"""Weights that join a training late start as they would have at its first update.

Adam and its kin divide their averages by how much of them the updates so far have filled, and count the updates of the
optimizer as a whole. To the extension, whose averages are empty when it joins at update 300, this would give steps of
several times the size. So the extension has a count of its own, by which its weights are updated.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.optimizer_parts import accumulation_steps, parts

# Keras's optimizers whose update does not depend on how many there were before.
WITHOUT_COUNT = {"SGD", "RMSprop", "Adagrad", "Adadelta", "Lion", "Ftrl"}


@contextlib.contextmanager
def counting_apart(optimizer: Any, late: list[Any], count: Any) -> Iterator[None]:
    """While this lasts, an optimizer updates some variables by a count of their own, and all others as ever.

    The learning rate, and weight decay with it, follows the optimizer's count for both.

    Args:
        optimizer: The optimizer, perhaps one around others.
        late: The variables. If there are none, nothing is changed.
        count: Scalar tensor, an integer: the batches in whose updates they have taken part so far, in whole windows of
            gradient accumulation.
    """
    ids = {id(variable) for variable in late}
    window = accumulation_steps(optimizer)
    with contextlib.ExitStack() as stack:
        for part in parts(optimizer) if late else []:
            if _keras.stock_class(part) not in WITHOUT_COUNT:
                original = _keras.update_steps(part)
                update = functools.partial(_update, part, original, ids, count, window)
                stack.enter_context(_keras.method_replaced(part, original.__name__, update))
        yield


def _update(
    optimizer: Any,
    original: Callable[..., None],
    late: set[int],
    count: Any,
    window: int,
    grads: list[Any],
    variables: list[Any],
    learning_rate: Any,
) -> None:
    now = [pair for pair in zip(grads, variables) if id(pair[1]) not in late]
    then = [pair for pair in zip(grads, variables) if id(pair[1]) in late]
    steps, product = _keras.optimizer_steps(optimizer), _keras.momentum_product(optimizer)
    product_before = None if product is None else ops.copy(product.value)
    if now:
        original(*map(list, zip(*now)), learning_rate)
    if not then:
        return
    steps_now = ops.copy(steps.value)
    # In the present window, as many batches as there are in the optimizer's: windows are motivated as a whole.
    own = ops.cast(count, steps_now.dtype) + (steps_now % window if window > 1 else 0)
    steps.assign(own)
    product_now = None if product is None else ops.copy(product.value)
    if product is not None:
        updates = own // (optimizer.gradient_accumulation_steps or 1)
        table = _product_after(updates, optimizer.beta_1, product.dtype)
        product.assign(ops.where(own == steps_now, product_before, table))
    try:
        original(*map(list, zip(*then)), learning_rate)
    finally:
        steps.assign(steps_now)
        if product is not None and now:
            product.assign(product_now)


def _product_after(updates: Any, beta: float, dtype: str) -> Any:
    """Nadam's product of its growing momenta after a number of updates: of beta * (1 - 0.96**i / 2) for each."""
    factors = np.concatenate([[1.0], np.cumprod(1.0 - 0.5 * 0.96 ** np.arange(1, 1024))])  # constant from here on
    factor = ops.take(ops.convert_to_tensor(factors, dtype), ops.minimum(updates, len(factors) - 1))
    return factor * ops.power(ops.convert_to_tensor(beta, dtype), ops.cast(updates, dtype))
