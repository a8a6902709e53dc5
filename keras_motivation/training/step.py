"""What follows from a batch's loss and gradients on every backend: the decision, the update, the logs."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.metrics.logs import prefixed
from keras_motivation.training.optimizers.clipping import clip_split_weights
from keras_motivation.training.optimizers.late_start import counting_apart
from keras_motivation.training.optimizers.parts import taking_subsets


class Step(Pair):
    """Part of `MotivatedModel`. It changes variables; the JAX backend runs it in a `keras.StatelessScope`."""

    def decide(self, kind: int, applied: Any, loss: Any, x: Any) -> None:
        """Passes the loss to the condition, which chooses the level of the next batch, and counts the batch.

        Args:
            kind: The number of the batch's kind.
            applied: The value of `updates.batches_applied` before the update. If it is None, the update may come later.
            loss: The batch's loss; if there are several replicas, that of this replica's part.
            x: Inputs.
        """

        def note(loss: Any, examples: Any) -> None:
            self.trained_examples.count(self._compiled_pair.kinds.terms[kind], examples)  # first: a `Budget` reads it
            self.update_window.observe(self._compiled_pair.decider, loss, self.optimizer, applied)
            if self._compiled_pair.batch_log is not None:
                self._compiled_pair.batch_log.update_state(loss, kind, examples)

        self.on_global_batch(note, self.unscaled(loss), _batch_size(x))

    def log_batch(self, kind: int, loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """Updates the metrics. Arguments as in Keras's `train_step` and in `decide`.

        Returns:
            The logs.
        """
        _keras.loss_tracker(self).update_state(self.unscaled(loss), sample_weight=_batch_size(x))
        # As tensors on the device: with a plain number, Keras makes a GPU wait under PyTorch.
        level, shares = self._compiled_pair.kinds.levels[kind], self._compiled_pair.shares
        for i, share in enumerate(shares):
            of_this_kind = level > 0 if i == 0 else level == i
            share.update_state(ops.zeros_like(loss) + float(of_this_kind), ops.ones_like(loss))
        first = self._compiled_pair.kinds.terms[kind][0][0]
        with self.running_as(first):
            logs = self.completed(self.compute_metrics(x, y, y_pred, sample_weight), first)
        return {**logs, **{share.name: share.result() for share in shares}, **self.motivation_logs()}

    def on_global_batch(self, function: Callable[[Any, Any], None], loss: Any, examples: Any) -> None:
        """Calls a function once, with the mean loss and the number of examples of all replicas. Here there is one."""
        function(loss, examples)

    def unscaled(self, loss: Any) -> Any:
        """The mean loss of a replica's examples. Under `tf.distribute`, Keras divides it by the number of replicas."""
        return loss

    def evaluate_batch(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        """Updates the metrics of all models. The results of the larger ones get a prefix, such as `motivated_`."""
        logs = self._evaluate_nested(0, x, y, sample_weight)
        for size, states in enumerate(self.metric_states if self._compiled_pair.evaluate else [], start=1):
            states.build()
            with states.swapped():
                larger_logs = self._evaluate_nested(size, x, y, sample_weight)
            logs |= prefixed(larger_logs, states.prefix)
        return logs

    def _evaluate_nested(self, size: int, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        loss, y_pred = self._forward_and_loss(size, x, y, sample_weight, training=False)
        _keras.loss_tracker(self).update_state(self.unscaled(loss), sample_weight=_batch_size(x))
        with self._evaluating(size), self.running_as(size):
            logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return self.evaluated(logs, size)

    def clipped(self, gradients: list[Any], variables: list[Any]) -> list[Any]:
        """The gradients, in which those of a widened weight are clipped together; see `clip_split_weights`."""
        return clip_split_weights(self.optimizer, self._sharing, gradients, variables)

    @contextlib.contextmanager
    def optimizing(self, trained: list[list[Any]], counts: list[Any]) -> Iterator[None]:
        """A context in which the optimizer can update the variables of a batch.

        Args:
            trained: The `trained_variables` of the batch.
            counts: The values of `update_window.extension_batches`.
        """
        with taking_subsets(self.optimizer), counting_apart(self.optimizer, list(zip(trained[1:], counts))):
            yield

    def apply_gradients(self, gradients: list[Any], trained: list[list[Any]], applied: Any) -> None:
        """Updates the variables, on backends where the optimizer does this in place.

        Args:
            gradients: Gradients of the variables.
            trained: The `trained_variables` of the batch.
            applied: The value of `updates.batches_applied` before the update.
        """
        variables = [v for own in trained for v in own]
        counts = [ops.convert_to_tensor(v.value) for v in self.update_window.extension_batches]
        with self.optimizing(trained, counts):
            self.optimizer.apply(self.clipped(gradients, variables), variables)
        self.update_window.count_extensions(trained, self.optimizer, applied)


def _batch_size(x: Any) -> Any:
    return ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
