"""What a batch computes, the same on every backend: which models run, on which weights, and what is recorded."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.clipping import clip_split_weights
from keras_motivation.late_start import counting_apart
from keras_motivation.missing_loss import check_penalties, nothing
from keras_motivation.optimizer_parts import taking_subsets
from keras_motivation.reports import evaluated, prefixed


@dataclass
class CompiledPair:
    """What `MotivatedModel.compile` sets beyond Keras's own. In an object, so that Keras does not track its parts."""

    motivation: Any = None
    share: Any = None
    metric_states: Any = None
    evaluate: bool = True
    motivated_batch: tuple[float, float] = (0.0, 1.0)
    record: Any = None
    dispatch: str = "auto"
    has_loss: bool = True  # beside what layers add
    all_have_penalties: bool = False


class Step:
    """Mixin of `MotivatedModel`. Written statefully; the JAX backend runs it in a `keras.StatelessScope`."""

    def loss_terms(self: Any, motivated: bool) -> list[tuple[int, float]]:
        """What a batch minimises: the weighted sum of nested models' losses, as (position among them, weight)."""
        weights = self._compiled_pair.motivated_batch if motivated else (1.0, 0.0)
        return [(level, weight) for level, weight in enumerate(weights) if weight]

    def minimised_loss(self: Any, motivated: bool, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        """Runs the nested models of `loss_terms` on a batch in training mode.

        Returns:
            The loss to minimise; the loss and the predictions of the smallest model among them, for the condition, the
            logs and the metrics.
        """
        results: list[Any] = []
        for level, weight in self.loss_terms(motivated):
            # Losses of single outputs are tracked as they are computed; the logs show those of the first model.
            kept = [(v, ops.copy(v.value)) for v in _keras.output_loss_variables(self)] if results else []
            results.append((weight, *self._forward_and_loss(level, x, y, sample_weight, training=True)))
            for variable, value in kept:
                variable.assign(value)
        weighted = [loss if weight == 1.0 else weight * loss for weight, loss, _ in results]
        return sum(weighted[1:], start=weighted[0]), *results[0][1:]

    def _forward_and_loss(self: Any, level: int, x: Any, y: Any, sample_weight: Any, training: bool) -> tuple[Any, Any]:
        y_pred, self._running.losses = self._forward(level, x, training)
        if training and level not in self._running.ran:  # the first run may have built layers
            self.check_variables()
            self._running.ran.add(level)
        try:
            needed = training and not self._compiled_pair.has_loss
            if needed and not check_penalties(self, level, self._running.losses, x):
                return nothing(y_pred), y_pred
            return _keras.compute_loss(self, x, y, y_pred, sample_weight, training), y_pred
        finally:
            self._running.losses = None

    def _forward_assembled(self: Any, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
        """Runs one nested model on tensors of its current weights, and stores what it changes (statistics, seeds).

        Returns:
            Its predictions and its penalties.
        """
        model = self._nested[level]
        kwargs = {"training": training} if self._takes_training[level] else {}
        if level == 0:
            y_pred = model(x, **kwargs)
            return y_pred, model.losses
        layout = [
            *self._maps[level - 1].layout,
            *((v, None) for v in _keras.outside_state(self._running.layer_metrics[level])),
        ]
        assembled = [
            (v, v.value if found is None else found[1].place(*map(self.tensor_of, (found[0], v))))
            for v, found in layout
        ]
        with keras.StatelessScope(state_mapping=assembled, collect_losses=True) as scope:
            before = {id(v): scope.get_current_value(v) for v, _ in layout}
            y_pred = self.call_assembled(level, x, kwargs)
            losses = model.losses
        written = [(v, found) for v, found in layout if scope.get_current_value(v) is not before[id(v)]]
        self.check_written([v for v, _ in written if v.trainable])
        for variable, found in written:
            new = scope.get_current_value(variable)
            if variable.trainable:
                continue
            if found is not None:
                found[0].assign(found[1].take(new))
            if found is None or not found[1].whole:
                variable.assign(new)
        return y_pred, losses

    def tensor_of(self: Any, variable: Any) -> Any:
        """The present value of a variable."""
        return variable.value

    def call_assembled(self: Any, level: int, x: Any, kwargs: dict[str, Any]) -> Any:
        """Calls a nested model whose weights are tensors in the place of its variables."""
        return self._nested[level](x, **kwargs)

    def check_written(self: Any, trained: list[Any]) -> None:
        """Takes the trained variables that a forward pass on tensors has written to; JAX loses them, as stock Keras."""

    def decide(self: Any, motivated: bool, applied: Any, loss: Any, x: Any) -> None:
        """The condition hears the loss and chooses the next batch's model; the batch is counted.

        Args:
            motivated: Which kind of batch it was.
            applied: What `updates.batches_applied` was before the update; where that is None, the update may follow.
            loss: The batch's loss, of a replica's part of it where there are several.
            x: Inputs.
        """

        def note(loss: Any, examples: Any) -> None:
            self.update_window.observe(self.motivation, loss, self.optimizer, applied)
            self.trained_examples.count(motivated, examples)
            if self._compiled_pair.record is not None:
                self._compiled_pair.record.update_state(loss, motivated, examples)

        self.on_global_batch(note, self.unscaled(loss), _batch_size(x))

    def log_batch(
        self: Any, motivated: bool, loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any
    ) -> dict[str, Any]:
        """Updates the metrics; arguments as in Keras's `train_step`, and those of `decide`.

        Returns:
            The logs.
        """
        _keras.loss_tracker(self).update_state(self.unscaled(loss), sample_weight=_batch_size(x))
        # As tensors of the device: from a plain number, Keras makes a GPU under PyTorch wait.
        self._compiled_pair.share.update_state(ops.zeros_like(loss) + float(motivated), ops.ones_like(loss))
        logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "motivated": self._compiled_pair.share.result()}

    def on_global_batch(self: Any, function: Callable[[Any, Any], None], loss: Any, examples: Any) -> None:
        """Calls a function once, with the mean loss and the number of examples of all replicas; here there is one."""
        function(loss, examples)

    def unscaled(self: Any, loss: Any) -> Any:
        """The mean loss of a replica's examples; under `tf.distribute` Keras divides it by the number of replicas."""
        return loss

    def evaluate_batch(self: Any, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        """Updates the metrics of both models; the motivated model's results get the prefix `motivated_`."""
        logs = self._evaluate_nested(0, x, y, sample_weight)
        if self._compiled_pair.evaluate:
            self.metric_states.build()
            with self.metric_states.swapped():
                motivated_logs = self._evaluate_nested(1, x, y, sample_weight)
            logs |= prefixed(motivated_logs)
        return logs

    def _evaluate_nested(self: Any, level: int, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        loss, y_pred = self._forward_and_loss(level, x, y, sample_weight, training=False)
        _keras.loss_tracker(self).update_state(self.unscaled(loss), sample_weight=_batch_size(x))
        with self._evaluating(level):
            logs = self.compute_metrics(x, y, y_pred, sample_weight)
        return evaluated(logs, self._names_of_other_layers(level))

    def clipped(self: Any, gradients: list[Any], variables: list[Any]) -> list[Any]:
        """The gradients, with those of widened weights clipped as one; see `clip_split_weights`."""
        return clip_split_weights(self.optimizer, self.weights_map, gradients, variables)

    def late_variables(self: Any, variables: list[Any]) -> list[Any]:
        """Those of the variables that a batch updates which take part in motivated batches only."""
        return variables[len(self.trained_variables(False)) :]

    @contextlib.contextmanager
    def optimizing(self: Any, late: list[Any], count: Any) -> Iterator[None]:
        """While this lasts, the optimizer takes what a batch has for it.

        Args:
            late: What `late_variables` gives of the batch's.
            count: The value of `update_window.extension_batches`.
        """
        with taking_subsets(self.optimizer), counting_apart(self.optimizer, late, count):
            yield

    def apply_gradients(self: Any, gradients: list[Any], variables: list[Any], applied: Any) -> None:
        """Updates variables, where the optimizer does so in place.

        Args:
            gradients: Gradients of the variables.
            variables: Those that the batch updates.
            applied: What `updates.batches_applied` is before.
        """
        late, window = self.late_variables(variables), self.update_window
        with self.optimizing(late, ops.convert_to_tensor(window.extension_batches.value)):
            self.optimizer.apply(self.clipped(gradients, variables), variables)
        if late:
            window.count_extension(self.optimizer, applied)


def _batch_size(x: Any) -> Any:
    return ops.shape(next(leaf for leaf in keras.tree.flatten(x) if leaf is not None))[0]
