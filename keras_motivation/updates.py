"""Which batches made updates: what the condition hears (their losses), and how many the extension took part in."""

from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.optimizer_parts import accumulation_steps, inner


class UpdateWindow(keras.layers.Layer):
    """The batches since the optimizer's last update of the weights. Saved with the pair.

    An optimizer may gather the gradients of n batches for one update (`gradient_accumulation_steps=n`), and one with
    loss scaling leaves out a batch whose gradients overflow. The condition decides once an update, by the mean loss of
    the batches in it: which model trains must not change while gradients of one are gathered, or they would be lost in
    the other, and a batch that was left out says nothing; unless its loss was no number, which ends motivation.

    Beside it, the batches in whose updates the extension has taken part: see `late_start`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.sum = self.add_weight(
            shape=(), initializer="zeros", dtype=keras.config.floatx(), trainable=False, autocast=False, name="sum"
        )
        self.extension_batches = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="extension_batches",
        )
        self.built = True  # else Keras would build the whole pair anew, by a symbolic run, at the start of every `fit`

    def forget(self) -> None:
        """Begins with another optimizer, which knows nothing of the updates so far."""
        for variable in self.variables:
            variable.assign(ops.zeros_like(variable.value))

    def count_extension(self, optimizer: Any, before: Any) -> None:
        """Counts a batch that has trained the extension, after its update; in whole windows of accumulation.

        Args:
            optimizer: The optimizer.
            before: What `batches_applied` of it was before.
        """
        batches = 1
        if before is not None:
            window, after = accumulation_steps(optimizer), batches_applied(optimizer)
            complete = ops.logical_and(after > before, ops.equal(after % window, 0))
            batches = ops.cast(complete, "int32") * window
        self.extension_batches.assign(self.extension_batches.value + batches)

    def observe(self, condition: Any, loss: Any, optimizer: Any, before: Any) -> None:
        """Lets the condition hear of a batch, in the training step.

        After the optimizer has had its gradients, unless `before` is None.

        Args:
            condition: The motivation condition.
            loss: Scalar: the batch's loss.
            optimizer: The optimizer.
            before: What `batches_applied` of it was before.
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
        # A loss that is no number never sustains motivation: the motivated model may give no other, ever again.
        lost = ops.logical_and(ops.equal(after, before), ops.logical_not(ops.isfinite(loss)))
        motivated = condition.motivated
        motivated.assign(ops.logical_and(motivated.value, ops.logical_not(lost)))
        self.sum.assign(ops.where(complete, ops.zeros_like(total), total))


def batches_applied(optimizer: Any) -> Any:
    """How many batches' gradients the optimizer has taken, or `None` if each updates the weights, always."""
    if inner(optimizer) is optimizer and accumulation_steps(optimizer) == 1:
        return None
    return ops.copy(_keras.optimizer_steps(inner(optimizer)).value)
