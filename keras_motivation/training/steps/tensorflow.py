"""The training step under TensorFlow: one traced function with all kinds of batches in a `tf.switch_case`.

Under a `tf.distribute` strategy, the `tf.switch_case` is outside of the replicas. Inside, an optimizer could not
combine their gradients. So all replicas train the same models, by one level, which the mean loss of the global batch
has set.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_motivation.training.optimizers.updates import batches_applied
from keras_motivation.training.steps.tensorflow_replicas import Replicas
from keras_motivation.training.steps.tensorflow_variables import added, split, users, written

DISPATCHES = ("graph",)  # where the model of a batch can be chosen


class BackendStep(Replicas):
    """Part of `MotivatedModel` for the TensorFlow backend."""

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, Any]:
        """Trains on one batch, at the level that the condition decided after the last batch."""
        if tf.distribute.has_strategy():
            return tf.distribute.get_replica_context().merge_call(self._train_replicas, args=(data,))
        return self._choose(lambda kind: self._train_batch(kind, data), data)

    def _choose(self, train: Callable[[int], Any], data: Any) -> Any:
        with _once_there(data):
            kind = tf.identity(self._kind.value)  # read before the condition overwrites it
        branches = self._for_each_kind(train)
        if tf.executing_eagerly():
            return branches[int(kind)]()
        if not (self.jit_compile or tf.distribute.has_strategy()):
            branches = [_called(branch) for branch in branches]
        return tf.switch_case(kind, branches)

    def _train_replicas(self, strategy: Any, data: Any) -> Any:
        def train(kind: int) -> Any:
            step = functools.partial(self._train_batch, kind)
            return strategy.extended.call_for_each_replica(step, args=(data,))

        return self._choose(train, data)

    @tf.autograph.experimental.do_not_convert
    def _train_batch(self, kind: int, data: Any) -> dict[str, Any]:
        with self.lent_for(kind):
            return self._train_batch_now(kind, data)

    def _train_batch_now(self, kind: int, data: Any) -> dict[str, Any]:
        x, y, sample_weight = self.unpacked(data)
        trained = self.trained_variables(kind)
        variables = [v for own in trained for v in own]
        unchanged = self.unchanged_by_errors(kind) if tf.executing_eagerly() else contextlib.nullcontext()
        with unchanged, tf.GradientTape() as tape:
            minimised, loss, y_pred = self.minimised_loss(kind, x, y, sample_weight)
            scaled_loss = self.optimizer.scale_loss(minimised)
        gradients = self._gradients(kind, variables, tape, scaled_loss)
        applied = batches_applied(self.optimizer) if variables else None
        if variables:  # if all are frozen, there is nothing to update
            self.apply_gradients(gradients, trained, applied)
        # Metrics must be updated inside, too, because predictions lose their Keras mask outside of a branch.
        self.decide(kind, applied, loss, x)
        logs = self.log_batch(kind, loss, x, y, y_pred, sample_weight)
        return tf.nest.map_structure(tf.convert_to_tensor, logs)

    def _on_current_weights(self, size: int, run: Callable[[], Any], training: bool) -> Any:
        """Calls a function that runs one nested model, while this has the current weights, and returns its result."""
        if size == 0 or tf.distribute.has_strategy():  # a replica may not write trained variables
            return self._on_assembled_weights(size, run)
        shared = self._sharing.shared_by(size)
        self._sharing.copy(size)
        before = [users(variable) for variable in shared]
        results = run()
        self._sharing.carry_back(size, [v for v, then in zip(shared, before) if written(v, then)])
        return results

    def tensor_of(self, variable: Any) -> Any:
        """The value of a variable as a tensor. The gradient of the variable itself would be zero instead of None."""
        return tf.convert_to_tensor(variable.value)

    def _gradients(self, kind: int, variables: list[Any], tape: Any, scaled_loss: Any) -> list[Any]:
        """The gradients of the variables. Those of shared weights are passed to the variables that store them."""
        sizes = [size for size, _ in self._compiled_pair.kinds.terms[kind]]
        read_own = not tf.distribute.has_strategy()
        own = [v for size in sizes for v in self._sharing.shared_by(size) if v.trainable] if read_own else []
        read = list({id(v): v for v in [*variables, *own]}.values())
        found = dict(zip(map(id, read), tape.gradient(scaled_loss, [v.value for v in read])))
        if read_own:
            self._sharing.hand_on(max(sizes), found, split, added)
        else:
            self.check_recomputed(found, sizes)
        return [found[id(v)] for v in variables]

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates all models on one batch."""
        with _once_there(data):
            return self.evaluate_batch(*self.unpacked(data))

    def make_test_function(self, force: bool = False) -> Any:
        """As in Keras. The metrics are built first, because a function that XLA compiles cannot create variables."""
        with self.distribute_strategy.scope():
            self.build_metric_states()
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
