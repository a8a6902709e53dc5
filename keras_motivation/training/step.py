"""What follows from a batch's loss and gradients on every backend: the decision, the update, the logs."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.metrics.logs import evaluated, prefixed
from keras_motivation.training.optimizers.clipping import clip_split_weights
from keras_motivation.training.optimizers.late_start import counting_apart
from keras_motivation.training.optimizers.parts import taking_subsets


class Step(Pair):
    """Part of `MotivatedModel`. It changes variables; the JAX backend runs it in a `keras.StatelessScope`."""

    def decide(self, motivated: bool, applied: Any, loss: Any, x: Any) -> None:
        """Passes the loss to the condition, which chooses the model of the next batch, and counts the batch.

        Args:
            motivated: Whether the batch was motivated.
            applied: The value of `updates.batches_applied` before the update. If it is None, the update may come later.
            loss: The batch's loss; if there are several replicas, that of this replica's part.
            x: Inputs.
        """

        def note(loss: Any, examples: Any) -> None:
            self.update_window.observe(self._compiled_pair.motivation, loss, self.optimizer, applied)
            self.trained_examples.count(motivated, examples)
            if self._compiled_pair.batch_log is not None:
                self._compiled_pair.batch_log.update_state(loss, motivated, examples)

        self.on_global_batch(note, self.unscaled(loss), _batch_size(x))

    def log_batch(self, motivated: bool, loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
        """Updates the metrics. Arguments as in Keras's `train_step` and in `decide`.

        Returns:
            The logs.
        """
        _keras.loss_tracker(self).update_state(self.unscaled(loss), sample_weight=_batch_size(x))
        # As tensors on the device: with a plain number, Keras makes a GPU wait under PyTorch.
        self._compiled_pair.share.update_state(ops.zeros_like(loss) + float(motivated), ops.ones_like(loss))
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "motivated": self._compiled_pair.share.result()}

    def on_global_batch(self, function: Callable[[Any, Any], None], loss: Any, examples: Any) -> None:
        """Calls a function once, with the mean loss and the number of examples of all replicas. Here there is one."""
        function(loss, examples)

    def unscaled(self, loss: Any) -> Any:
        """The mean loss of a replica's examples. Under `tf.distribute`, Keras divides it by the number of replicas."""
        return loss

    def evaluate_batch(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        """Updates the metrics of both models. The motivated model's results get the prefix `motivated_`."""
        logs = self._evaluate_nested(0, x, y, sample_weight)
        if self._compiled_pair.evaluate:
            self.metric_states.build()
            with self.metric_states.swapped():
                motivated_logs = self._evaluate_nested(1, x, y, sample_weight)
            logs |= prefixed(motivated_logs)
        return logs

    def _evaluate_nested(self, level: int, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        loss, y_pred = self._forward_and_loss(level, x, y, sample_weight, training=False)
        _keras.loss_tracker(self).update_state(self.unscaled(loss), sample_weight=_batch_size(x))
        with self._evaluating(level):
            logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return evaluated(logs, self._names_of_other_layers(level))

    def clipped(self, gradients: list[Any], variables: list[Any]) -> list[Any]:
        """The gradients, in which those of a widened weight are clipped together; see `clip_split_weights`."""
        return clip_split_weights(self.optimizer, self.weights_map, gradients, variables)

    def late_variables(self, variables: list[Any]) -> list[Any]:
        """Those variables of a batch that only motivated batches update."""
        return variables[len(self.trained_variables(False)) :]

    @contextlib.contextmanager
    def optimizing(self, late: list[Any], count: Any) -> Iterator[None]:
        """A context in which the optimizer can update the variables of a batch.

        Args:
            late: The `late_variables` of the batch.
            count: The value of `update_window.extension_batches`.
        """
        with taking_subsets(self.optimizer), counting_apart(self.optimizer, late, count):
            yield

    def apply_gradients(self, gradients: list[Any], variables: list[Any], applied: Any) -> None:
        """Updates the variables, on backends where the optimizer does this in place.

        Args:
            gradients: Gradients of the variables.
            variables: The variables that the batch updates.
            applied: The value of `updates.batches_applied` before the update.
        """
        late, window = self.late_variables(variables), self.update_window
        with self.optimizing(late, ops.convert_to_tensor(window.extension_batches.value)):
            self.optimizer.apply(self.clipped(gradients, variables), variables)
        if late:
            window.count_extension(self.optimizer, applied)


def _batch_size(x: Any) -> Any:
    return ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
