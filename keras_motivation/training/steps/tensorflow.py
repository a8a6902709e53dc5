"""The training step under TensorFlow: one traced function with both kinds of batches in a `tf.cond`.

Under a `tf.distribute` strategy, the `tf.cond` is outside of the replicas. Inside, an optimizer could not combine their
gradients. So all replicas train the same model, by one flag, which the mean loss of the global batch has set.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_motivation.training.optimizers.updates import batches_applied
from keras_motivation.training.steps.own_variables import carry_back, hand_on
from keras_motivation.training.steps.tensorflow_replicas import Replicas
from keras_motivation.training.steps.tensorflow_variables import added, split, users, written

DISPATCHES = ("graph",)  # where the model of a batch can be chosen


class BackendStep(Replicas):
    """Part of `MotivatedModel` for the TensorFlow backend."""

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains on one batch: the motivated model if the condition decided so after the last batch, else the base."""
        if tf.distribute.has_strategy():
            return tf.distribute.get_replica_context().merge_call(self._train_replicas, args=(data,))
        return self._choose(lambda motivated: self._train_batch(motivated, data), data)

    def _choose(self, train: Callable[[bool], Any], data: Any) -> Any:
        with _once_there(data):
            motivated = tf.identity(self._motivated_flag.value)  # read before the condition overwrites it
        branches: list[Callable[[], Any]] = [functools.partial(train, flag) for flag in (True, False)]
        if not (self.jit_compile or tf.executing_eagerly() or tf.distribute.has_strategy()):
            branches = [_called(branch) for branch in branches]
        return tf.cond(motivated, *branches)

    def _train_replicas(self, strategy: Any, data: Any) -> Any:
        def train(motivated: bool) -> Any:
            step = functools.partial(self._train_batch, motivated)
            return strategy.extended.call_for_each_replica(step, args=(data,))

        return self._choose(train, data)

    @tf.autograph.experimental.do_not_convert
    def _train_batch(self, motivated: bool, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trained_variables(motivated)
        with tf.GradientTape() as tape:
            minimised, loss, y_pred = self.minimised_loss(motivated, x, y, sample_weight)
            scaled_loss = self.optimizer.scale_loss(minimised)
        gradients = self._gradients(motivated, variables, tape, scaled_loss)
        applied = batches_applied(self.optimizer) if variables else None
        if variables:  # if all are frozen, there is nothing to update
            self.apply_gradients(gradients, variables, applied)
        # Metrics must be updated inside, too, because predictions lose their Keras mask outside of a `tf.cond`.
        self.decide(motivated, applied, loss, x)
        logs = self.log_batch(motivated, loss, x, y, y_pred, sample_weight)
        return tf.nest.map_structure(tf.convert_to_tensor, logs)

    def _forward(self, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
        """Runs one nested model on the current weights.

        Returns:
            Its predictions and its penalties.
        """
        if level == 0 or tf.distribute.has_strategy():  # a replica may not write trained variables
            return self._forward_assembled(level, x, training)
        model, shared = self._nested[level], self._maps[level - 1]
        shared.copy_to_motivated()
        pairs = list(zip(shared.entries, shared.placements))
        before = [users(entry.motivated) for entry, _ in pairs]
        y_pred = model(x, **({"training": training} if self._takes_training[level] else {}))
        carry_back([pair for pair, then in zip(pairs, before) if written(pair[0].motivated, then)])
        return y_pred, model.losses

    def tensor_of(self, variable: Any) -> Any:
        """The value of a variable as a tensor. The gradient of the variable itself would be zero instead of None."""
        return tf.convert_to_tensor(variable.value)

    def _gradients(self, motivated: bool, variables: list[Any], tape: Any, scaled_loss: Any) -> list[Any]:
        """The gradients of the variables. Those of the motivated model's shared weights are passed to the base's."""
        read, shared = variables, self._maps[-1]
        read_own = motivated and not tf.distribute.has_strategy()
        if read_own:
            read = [*variables, *(entry.motivated for entry in shared.entries if entry.motivated.trainable)]
        read = list({id(v): v for v in read}.values())
        found = dict(zip(map(id, read), tape.gradient(scaled_loss, [v.value for v in read])))
        if read_own:
            hand_on(shared, found, split, added)
        elif motivated:
            self.check_recomputed(found)
        return [found[id(v)] for v in variables]

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates both models on one batch."""
        with _once_there(data):
            return self.evaluate_batch(*keras.utils.unpack_x_y_sample_weight(data))

    def make_test_function(self, force: bool = False) -> Any:
        """As in Keras. The metrics are built first, because a function that XLA compiles cannot create variables."""
        with self.distribute_strategy.scope():
            self.metric_states.build()
        return super().make_test_function(force)

    def make_train_function(self, force: bool = False) -> Any:
        """As in Keras, but builds the optimizer here, because the first step may train only a part of the weights."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        self.check_accumulation()
        return super().make_train_function(force)


def _called(branch: Callable[[], Any]) -> Callable[[], Any]:
    """A branch that stays one operation of the graph, so that it is skipped at once and not operation by operation."""
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})


def _once_there(data: Any) -> Any:
    """A context in which nothing runs before the batch has arrived.

    At the end of a data set of unknown length, the graph starts once more and then finds that there is no batch.
    Without this context, operations that do not depend on the batch would run: counts, random numbers, a condition that
    ignores the loss.
    """
    leaves = tf.nest.flatten(data, expand_composites=True)
    return tf.control_dependencies([leaf for leaf in leaves if tf.is_tensor(leaf)])
