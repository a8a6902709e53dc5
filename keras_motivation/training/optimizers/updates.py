"""Which batches made updates: the condition receives their losses, and the extension counts those that train it."""

from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.training.optimizers.parts import accumulation_steps, inner


class UpdateWindow(keras.layers.Layer):
    """The batches since the optimizer's last update of the weights. Saved with the pair.

    An optimizer may accumulate the gradients of n batches for one update (`gradient_accumulation_steps=n`), and one
    with loss scaling skips a batch whose gradients overflow. The condition decides once per update, from the mean loss
    of its batches. The model that trains must not change while its gradients are accumulated, or they would be lost.
    A skipped batch does not count, with one exception: if its loss is NaN or infinite, motivation ends.

    This class also counts the batches in the updates of each extension: see `late_start`.

    Args:
        sizes: Number of nested models.
        **kwargs: `name`.
    """

    def __init__(self, sizes: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.sum = self.add_weight(
            shape=(), initializer="zeros", dtype=keras.config.floatx(), trainable=False, autocast=False, name="sum"
        )
        self.extension_batches = [
            self.add_weight(
                shape=(),
                initializer="zeros",
                dtype="int32",
                trainable=False,
                autocast=False,
                aggregation="only_first_replica",
                name=f"extension_batches_{size}",
            )
            for size in range(1, sizes)
        ]
        self.built = True  # otherwise Keras would build the whole pair again, by a symbolic run, in every `fit`

    def forget(self) -> None:
        """Starts again, for a new optimizer."""
        for variable in self.variables:
            variable.assign(ops.zeros_like(variable.value))

    def count_extensions(self, trained: list[list[Any]], optimizer: Any, before: Any) -> None:
        """Counts a batch for the extensions that it has trained, in whole windows of accumulation, after the update.

        Args:
            trained: The variables of each model that the batch has updated.
            optimizer: The optimizer.
            before: The value of `batches_applied` before the update.
        """
        batches: Any = 1
        if before is not None and any(trained[1:]):
            window, after = accumulation_steps(optimizer), batches_applied(optimizer)
            complete = ops.logical_and(after > before, ops.equal(after % window, 0))
            batches = ops.cast(complete, "int32") * window
        for own, count in zip(trained[1:], self.extension_batches):
            if own:
                count.assign(count.value + batches)

    def observe(self, condition: Any, loss: Any, optimizer: Any, before: Any) -> None:
        """Passes the loss of a batch to the condition, in the training step.

        Call it after the optimizer has received the gradients, unless `before` is None.

        Args:
            condition: The motivation condition.
            loss: Scalar: the batch's loss.
            optimizer: The optimizer.
            before: The value of `batches_applied` before the update.
        """
        if before is None:
            condition.observe(loss)
            return
        steps = accumulation_steps(optimizer)
        after = batches_applied(optimizer)
        total = self.sum + ops.where(after > before, ops.cast(loss, self.sum.dtype), 0.0)
        complete = ops.logical_and(after > before, ops.equal(after % steps, 0))
        kept = [(v, ops.copy(v.value)) for v in condition.variables]
        condition.observe(total / steps)
        for variable, value in kept:
            variable.assign(ops.where(complete, variable.value, value))
        # A NaN or infinite loss ends motivation, because the motivated model may never give another loss.
        lost = ops.logical_and(ops.equal(after, before), ops.logical_not(ops.isfinite(loss)))
        condition.level.assign(condition.level.value * ops.cast(ops.logical_not(lost), "int32"))
        self.sum.assign(ops.where(complete, ops.zeros_like(total), total))


def batches_applied(optimizer: Any) -> Any:
    """Number of batches whose gradients the optimizer has applied; `None` if every batch updates the weights."""
    if inner(optimizer) is optimizer and accumulation_steps(optimizer) == 1:
        return None
    return ops.copy(_keras.optimizer_steps(inner(optimizer)).value)
