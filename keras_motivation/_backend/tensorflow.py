"""The step under TensorFlow: one traced function with both kinds of batches in a `tf.cond`.

Under a `tf.distribute` strategy the `tf.cond` stands outside of the replicas: inside, an optimizer could not join what
they computed. All replicas thus train the same model, by one flag, which the mean loss of the global batch has set.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_motivation import _keras
from keras_motivation._backend.own_variables import carry_back, hand_on
from keras_motivation._backend.tensorflow_variables import added, split, users, written
from keras_motivation.optimizer_parts import accumulation_steps
from keras_motivation.updates import batches_applied

DISPATCHES = ("graph",)  # where the model of a batch can be chosen
# Under a strategy, replicas may not write variables one by one, so that the motivated model runs on assembled tensors.
NOT_IN_REPLICAS = (
    "Under a `tf.distribute` strategy the layers of the motivated model must read their weights as tensors and keep no "
    "state of their own. Train on one device, or leave these layers out."
)


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
        gradients = self._gradients(motivated, variables, tape, scaled_loss)
        applied = batches_applied(self.optimizer) if variables else None
        if variables:  # with all of them frozen there is nothing to update
            self.apply_gradients(gradients, variables, applied)
        # The metrics too belong inside: predictions lose their Keras mask on the way out of a `tf.cond`.
        self.decide(motivated, applied, loss, x)
        logs = self.log_batch(motivated, loss, x, y, y_pred, sample_weight)
        return tf.nest.map_structure(tf.convert_to_tensor, logs)

    def _forward(self: Any, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
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

    def tensor_of(self: Any, variable: Any) -> Any:
        """The present value of a variable, not the variable itself, whose gradient would be zero, not None."""
        return tf.convert_to_tensor(variable.value)

    def call_assembled(self: Any, level: int, x: Any, kwargs: dict[str, Any]) -> Any:
        """Calls a nested model on tensors in the place of its variables, and refuses layers that look past them."""
        model, shared = self._nested[level], self._maps[level - 1]
        found = [(layer.name, reason) for layer in _keras.all_layers(model) if (reason := _looks_past(layer))]
        graph = tf.compat.v1.get_default_graph()
        known = len(graph.get_operations())
        with tf.GradientTape() as tape:
            y_pred = model(x, **kwargs)
        own = {id(_keras.native_variable(e.motivated)): e.motivated.path for e in shared.entries}
        found += [(own[id(v)], "is read past its tensor") for v in tape.watched_variables() if id(v) in own]
        if found:
            raise NotImplementedError(f"{NOT_IN_REPLICAS} Received: {found[:5]}")
        # What a function with a gradient of its own computes. It knows variables only.
        self._running.own_gradients = any(op.type == "IdentityN" for op in graph.get_operations()[known:])
        return y_pred

    def check_written(self: Any, trained: list[Any]) -> None:
        """Refuses layers that write their trained weights in the forward pass."""
        if trained:
            paths = [v.path for v in trained]
            raise NotImplementedError(f"{NOT_IN_REPLICAS} Received weights that a forward pass writes: {paths[:5]}")

    def _gradients(self: Any, motivated: bool, variables: list[Any], tape: Any, scaled_loss: Any) -> list[Any]:
        """The gradients of the variables, where those of the motivated model's shared weights go to the base's."""
        read, shared = variables, self._maps[-1]
        read_own = motivated and not tf.distribute.has_strategy()
        if read_own:
            read = [*variables, *(entry.motivated for entry in shared.entries if entry.motivated.trainable)]
        read = list({id(v): v for v in read}.values())
        found = dict(zip(map(id, read), tape.gradient(scaled_loss, [v.value for v in read])))
        if read_own:
            hand_on(shared, found, split, added)
        elif motivated and self._running.own_gradients:
            lost = [e.base.path for e in shared.entries if id(e.base) in found and found[id(e.base)] is None]
            if lost:
                raise NotImplementedError(f"{NOT_IN_REPLICAS} Received layers that recompute their result: {lost[:5]}")
        return [found[id(v)] for v in variables]

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

    def make_test_function(self: Any, force: bool = False) -> Any:
        """As in Keras; a function that XLA compiles may make no variables."""
        with self.distribute_strategy.scope():
            self.metric_states.build()
        return super().make_test_function(force)  # type: ignore[misc]

    def make_train_function(self: Any, force: bool = False) -> Any:
        """As in Keras; but the optimizer is built here, since the first step would show it only half of the weights."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        replicas, steps = self.distribute_strategy.num_replicas_in_sync, accumulation_steps(self.optimizer)
        if replicas > 1 and steps > 1:
            raise ValueError(
                "Keras's optimizers cannot accumulate gradients under a `tf.distribute` strategy of several replicas. "
                f"Received: gradient_accumulation_steps={steps}, {replicas} replicas"
            )
        return super().make_train_function(force)  # type: ignore[misc]


def _looks_past(layer: Any) -> str | None:
    """Why a layer cannot run on tensors in the place of its variables; None if nothing is known against it."""
    if getattr(layer, "stateful", False):
        return "is stateful"
    return "holds a tf.function" if _holds_function(layer) else None


def _holds_function(layer: Any) -> bool:
    attributes = (*vars(type(layer)).values(), *vars(layer).values())
    return any(isinstance(value, tf.types.experimental.PolymorphicFunction) for value in attributes)


@contextlib.contextmanager
def untraced(layers: list[Any]) -> Iterator[None]:
    """Within this, functions that the layers hold are not traced: a trace would keep what is replaced for a time."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(before or any(map(_holds_function, layers)))
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


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


def gradients(running: Callable[[list[Any]], Any], values: list[Any], variables: list[Any]) -> list[Any]:
    """The gradients of the scalar that a context of a list of tensors gives, at `values`, which `variables` have; None
    where it does not depend on one."""
    own = [_keras.native_variable(variable) for variable in variables]
    with tf.GradientTape() as tape:
        tape.watch(own)
        with running(values) as scalar:  # layers may compute their result again for it
            return [g if g is None else tf.convert_to_tensor(g) for g in tape.gradient(scalar, own)]


class holding:  # noqa: N801 (a context manager)
    """A context in which variables have the values that they are paired with, and a model's state changes but there.

    They do have them, and a `tf.function` in a layer runs eagerly: what it captured if it were traced here, values on
    trial or calls that were replaced, would stay in it for ever.
    """

    def __init__(self, pairs: list[tuple[Any, Any]], model: Any) -> None:
        self._pairs = pairs
        metrics = [metric for layer in _keras.all_layers(model) for metric in layer.metrics]
        self._changing = [v for v, _ in pairs] + _keras.outside_state(metrics) + _keras.recurrent_states(model)

    def __enter__(self) -> "holding":
        self._eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        self._kept = [tf.identity(v.value) for v in self._changing]
        for variable, value in self._pairs:
            variable.assign(value)
        return self

    def __exit__(self, *error: Any) -> None:
        tf.config.run_functions_eagerly(self._eager)
        for variable, value in zip(self._changing, self._kept):
            variable.assign(value)

    def get_current_value(self, variable: Any) -> Any:
        """What the run has made of a variable so far."""
        return tf.identity(variable.value)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, compiled where that pays."""
    return tf.function(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, as one program where that pays for a single call: not here."""
    return function


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Random generators beside Keras's, as functions that get and set their state: none takes part in training."""
    return []
