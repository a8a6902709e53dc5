"""The step under TensorFlow: one traced function with both kinds of batches in a `tf.cond`.

Under a `tf.distribute` strategy the `tf.cond` stands outside of the replicas: inside, an optimizer could not join what
they computed. All replicas thus train the same model, by one flag, which the mean loss of the global batch has set.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_motivation.optimizer_parts import accumulation_steps
from keras_motivation.updates import batches_applied

DISPATCHES = ("graph",)  # where the model of a batch can be chosen


class BackendStep:
    """Mixin of `MotivatedModel` for the TensorFlow backend."""

    def fit(self: Any, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, which fails under a strategy with several workers (keras issue 20585); here with a reason."""
        strategy = self.distribute_strategy
        resolver = (
            strategy.cluster_resolver if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) else None
        )
        cluster = resolver.cluster_spec().as_dict() if resolver else {}
        workers = sum(len(cluster.get(job, [])) for job in ("chief", "worker"))
        if workers > 1:
            raise NotImplementedError(
                "Keras's `fit` does not run under a strategy with several workers: train in a loop of "
                "`strategy.run(model.train_step, args=(batch,))`, see the page on distributed training. "
                f"Received: {type(strategy).__name__} with {workers} workers"
            )
        return super().fit(*args, **kwargs)  # type: ignore[misc]

    @tf.autograph.experimental.do_not_convert
    def train_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch: of the motivated model where the last batch's decision says so, else of the base."""
        if tf.distribute.has_strategy():
            return tf.distribute.get_replica_context().merge_call(self._train_replicas, args=(data,))
        return self._choose(lambda motivated: self._train_batch(motivated, data), data)

    def _choose(self: Any, train: Callable[[bool], Any], data: Any) -> Any:
        with _once_there(data):
            motivated = tf.identity(self.motivation.motivated.value)  # read before the condition overwrites it
        branches: list[Callable[[], Any]] = [functools.partial(train, flag) for flag in (True, False)]
        if not (self.jit_compile or tf.executing_eagerly() or tf.distribute.has_strategy()):
            branches = [_called(branch) for branch in branches]
        return tf.cond(motivated, *branches)

    def _train_replicas(self: Any, strategy: Any, data: Any) -> Any:
        def train(motivated: bool) -> Any:
            step = functools.partial(self._train_batch, motivated)
            return strategy.extended.call_for_each_replica(step, args=(data,))

        return self._choose(train, data)

    @tf.autograph.experimental.do_not_convert
    def _train_batch(self: Any, motivated: bool, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        variables = self.trained_variables(motivated)
        with tf.GradientTape() as tape:
            minimised, loss, y_pred = self.minimised_loss(motivated, x, y, sample_weight)
            scaled_loss = self.optimizer.scale_loss(minimised)
        gradients = tape.gradient(scaled_loss, [v.value for v in variables])
        applied = batches_applied(self.optimizer) if variables else None
        if variables:  # with all of them frozen there is nothing to update
            self.apply_gradients(gradients, variables, applied)
        # The metrics too belong inside: predictions lose their Keras mask on the way out of a `tf.cond`.
        self.decide(motivated, applied, loss, x)
        logs = self.log_batch(motivated, loss, x, y, y_pred, sample_weight)
        return tf.nest.map_structure(tf.convert_to_tensor, logs)

    def on_global_batch(self: Any, function: Callable[[Any, Any], None], loss: Any, examples: Any) -> None:
        """Calls a function once, with the mean loss and the number of examples of all replicas."""
        if not tf.distribute.has_strategy():
            function(loss, examples)
            return

        def reduced(strategy: Any, loss: Any, examples: Any) -> None:
            count = strategy.reduce("SUM", examples, axis=None)
            function(strategy.reduce("SUM", loss, axis=None) / tf.cast(count, dtype), count)

        # By numbers of examples: a last batch may not divide evenly, and leave a replica with none.
        examples, dtype = tf.convert_to_tensor(examples), loss.dtype
        total = tf.where(examples > 0, loss * tf.cast(examples, dtype), 0.0)
        tf.distribute.get_replica_context().merge_call(reduced, args=(total, examples))

    def unscaled(self: Any, loss: Any) -> Any:
        """The mean loss of a replica's examples: Keras divides it by the number of replicas, to sum up gradients."""
        return loss * tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)

    def test_step(self: Any, data: Any) -> dict[str, Any]:
        """One batch of evaluation, of both models."""
        with _once_there(data):
            return self.evaluate_batch(*keras.utils.unpack_x_y_sample_weight(data))

    def make_train_function(self: Any, force: bool = False) -> Any:
        """As in Keras; but the optimizer is built here, since the first step would show it only half of the weights."""
        replicas, steps = self.distribute_strategy.num_replicas_in_sync, accumulation_steps(self.optimizer)
        if replicas > 1 and steps > 1:
            raise ValueError(
                "Keras's optimizers cannot accumulate gradients under a `tf.distribute` strategy of several replicas. "
                f"Received: gradient_accumulation_steps={steps}, {replicas} replicas"
            )
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)  # type: ignore[misc]


def _called(branch: Callable[[], Any]) -> Callable[[], Any]:
    """A branch that stays one operation of its graph: else each operation of the other branch is passed by singly."""
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})


def _once_there(data: Any) -> Any:
    """Within this, nothing runs before the batch has arrived.

    Where a data set of unknown length ends, the graph runs once more until the next batch is found missing, and what
    does not depend on the batch has run by then: counts, random numbers, a condition that looks at no loss.
    """
    leaves = tf.nest.flatten(data, expand_composites=True)
    return tf.control_dependencies([leaf for leaf in leaves if tf.is_tensor(leaf)])


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """A function that writes each base variable into its motivated variable; from (base, motivated, placement)."""

    def write() -> None:
        for base, motivated, placement in shared:
            # Not `motivated.value[slices].assign`: from then on, TensorFlow copies the variable at each look at it.
            motivated.assign(placement.place(base.value, motivated.value))

    return write


def placed(inner: Any, outer: Any, slices: tuple[slice, ...]) -> Any:
    """`outer` with `inner` in the place of its first entries. Gradients flow to both."""
    outer = tf.convert_to_tensor(outer)
    covered = list(slices)  # the part of `outer` that `inner` covers so far
    for axis, size in enumerate(outer.shape):
        if covered[axis].stop < size:
            rest = [*covered[:axis], slice(covered[axis].stop, size), *covered[axis + 1 :]]
            # Not an update of the slice: of an embedding, only a concatenation hands on a sparse gradient, for which
            # optimizers compute something else than for a dense one.
            inner = tf.concat([inner, outer[tuple(rest)]], axis)
            covered[axis] = slice(0, size)
    return inner


def gradients(function: Callable[[list[Any]], Any], values: list[Any]) -> list[Any]:
    """The gradients of a scalar function of a list of tensors, at `values`; None where it does not depend on one."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = function(values)
    return [g if g is None else tf.convert_to_tensor(g) for g in tape.gradient(result, values)]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, compiled where that pays."""
    return tf.function(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, as one program where that pays for a single call: not here."""
    return function


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Random generators beside Keras's, as functions that get and set their state: none takes part in training."""
    return []
