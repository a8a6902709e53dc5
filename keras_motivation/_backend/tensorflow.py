"""The step under TensorFlow: one traced function with both kinds of batches in a `tf.cond`."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

DISPATCHES = ("graph",)  # where the model of a batch can be chosen


class BackendStep:
    """Mixin of `MotivatedModel` for the TensorFlow backend."""

    def train_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch: of the motivated model where the last batch's decision says so, else of the base."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        def train(motivated: bool) -> dict[str, Any]:
            variables = self.trained_variables(motivated)
            with tf.GradientTape() as tape:
                minimised, loss, y_pred = self.minimised_loss(motivated, x, y, sample_weight)
                scaled_loss = self.optimizer.scale_loss(minimised)
            gradients = tape.gradient(scaled_loss, [v.value for v in variables])
            self.optimizer.apply(self.clipped(gradients, variables), variables)
            # The metrics too belong inside: predictions lose their Keras mask on the way out of a `tf.cond`.
            logs = self.finish_batch(motivated, loss, x, y, y_pred, sample_weight)
            return tf.nest.map_structure(tf.convert_to_tensor, logs)

        motivated = tf.identity(self.motivation.motivated.value)  # read before the condition overwrites it
        return tf.cond(motivated, lambda: train(True), lambda: train(False))

    def test_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch of evaluation, of both models."""
        return self.evaluate_batch(*keras.utils.unpack_x_y_sample_weight(data))

    def make_train_function(self: Any, force: bool = False) -> Any:
        """As in Keras; but the optimizer is built here, since the first step would show it only half of the weights."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            raise ValueError(
                "Training a pair under a `tf.distribute` strategy with several replicas is not supported yet. "
                f"Received: {type(self.distribute_strategy).__name__} with {replicas} replicas"
            )
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)  # type: ignore[misc]


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """A function that writes each base variable into its motivated variable; from (base, motivated, placement)."""

    def write() -> None:
        for base, motivated, placement in shared:
            if placement.prefix and not placement.whole:
                motivated.value[placement.slices].assign(base.value)
            else:
                motivated.assign(placement.place(base.value, motivated.value))

    return write


def gradients(function: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    """The gradients of a scalar function of a list of tensors, at `values`; None where it does not depend on one."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = function(values)
    return [g if g is None else tf.convert_to_tensor(g) for g in tape.gradient(result, values)]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, compiled where that pays."""
    return tf.function(function)


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Random generators beside Keras's, as functions that get and set their state: none takes part in training."""
    return []
