"""What is different under a `tf.distribute` strategy, in which several replicas train a pair together."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_motivation import _keras
from keras_motivation.backend.tensorflow import holds_function
from keras_motivation.interface import Pair
from keras_motivation.training.optimizers.parts import accumulation_steps

# Under a strategy, replicas may not write variables separately, so the motivated model runs on assembled tensors.
NOT_IN_REPLICAS = (
    "Under a `tf.distribute` strategy the layers of the motivated model must read their weights as tensors and keep no "
    "state of their own. Train on one device, or leave these layers out."
)


class Replicas(Pair):
    """Part of `MotivatedModel` for the TensorFlow backend. It refuses what a replica cannot do, with the reason."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, which fails under a strategy with several workers (Keras issue 20585). Here with a reason."""
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
        return super().fit(*args, **kwargs)

    def on_global_batch(self, function: Callable[[Any, Any], None], loss: Any, examples: Any) -> None:
        """Calls a function once, with the mean loss and the number of examples of all replicas."""
        if not tf.distribute.has_strategy():
            function(loss, examples)
            return

        def reduced(strategy: Any, loss: Any, examples: Any) -> None:
            count = strategy.reduce("SUM", examples, axis=None)
            function(strategy.reduce("SUM", loss, axis=None) / tf.cast(count, dtype), count)

        # Weighted by the number of examples: a last batch may be split unevenly, and a replica may get no example.
        examples, dtype = tf.convert_to_tensor(examples), loss.dtype
        total = tf.where(examples > 0, loss * tf.cast(examples, dtype), 0.0)
        tf.distribute.get_replica_context().merge_call(reduced, args=(total, examples))

    def unscaled(self, loss: Any) -> Any:
        """The mean loss of a replica's examples. Keras has divided it by the number of replicas, to sum gradients."""
        return loss * tf.cast(tf.distribute.get_strategy().num_replicas_in_sync, loss.dtype)

    def scope_of(self, assembled: list[Any]) -> Any:
        """As everywhere. But what is written and then read has no gradient, as with variables of TensorFlow."""
        return _WithoutGradients(state_mapping=assembled, collect_losses=True)

    def call_assembled(self, size: int, run: Callable[[], Any]) -> Any:
        """Runs a nested model on tensors in the place of its variables, and refuses layers that do not use them."""
        model = self._nested[size]
        found = [(layer.name, reason) for layer in _keras.all_layers(model) if (reason := _looks_past(layer))]
        graph = tf.compat.v1.get_default_graph()
        known = len(graph.get_operations())
        with tf.GradientTape() as tape:
            results = run()
        own = {id(_keras.native_variable(v)): v.path for v in self._sharing.shared_by(size)}
        found += [(own[id(v)], "is read past its tensor") for v in tape.watched_variables() if id(v) in own]
        if found:
            raise NotImplementedError(f"{NOT_IN_REPLICAS} Received: {found[:5]}")
        # The operation of a function with its own gradient. Such a gradient works only with variables.
        self._running.own_gradients = any(op.type == "IdentityN" for op in graph.get_operations()[known:])
        return results

    def check_written(self, trained: list[Any]) -> None:
        """Refuses layers that write their trained weights in the forward pass."""
        if trained:
            paths = [v.path for v in trained]
            raise NotImplementedError(f"{NOT_IN_REPLICAS} Received weights that a forward pass writes: {paths[:5]}")

    def check_recomputed(self, gradients: dict[int, Any], sizes: list[int]) -> None:
        """Refuses layers that recompute their result for the gradient, which then goes to variables, not to tensors.

        Args:
            gradients: The gradients of a batch, by the id of the variable; None if there is none.
            sizes: The positions of the models that the batch trains.
        """
        pieces = [piece for size in sizes for piece in self._sharing.pieces[size] if self._running.own_gradients]
        lost = [e.base.path for e, _ in pieces if id(e.base) in gradients and gradients[id(e.base)] is None]
        if lost:
            raise NotImplementedError(f"{NOT_IN_REPLICAS} Received layers that recompute their result: {lost[:5]}")

    def check_accumulation(self) -> None:
        """Refuses several replicas with an optimizer that accumulates gradients."""
        replicas, steps = self.distribute_strategy.num_replicas_in_sync, accumulation_steps(self.optimizer)
        if replicas > 1 and steps > 1:
            raise ValueError(
                "Keras's optimizers cannot accumulate gradients under a `tf.distribute` strategy of several replicas. "
                f"Received: gradient_accumulation_steps={steps}, {replicas} replicas"
            )


class _WithoutGradients(keras.StatelessScope):
    def add_update(self, update: Any) -> None:
        variable, value = update
        super().add_update((variable, tf.stop_gradient(value)))


def _looks_past(layer: Any) -> str | None:
    """Why a layer cannot run on tensors in the place of its variables; None if no reason is known."""
    if getattr(layer, "stateful", False):
        return "is stateful"
    return "holds a tf.function" if holds_function(layer) else None
