"""What a batch computes on every backend: the models that run, their weights, and the loss."""

from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.checks.missing_loss import check_penalties, nothing


class Forward(Pair):
    """Part of `MotivatedModel`. It changes variables; the JAX backend runs it in a `keras.StatelessScope`."""

    def loss_terms(self, motivated: bool) -> list[tuple[int, float]]:
        """The weighted sum of nested models' losses that a batch minimises, as (position of the model, weight)."""
        weights = self._compiled_pair.motivated_batch if motivated else (1.0, 0.0)
        return [(level, weight) for level, weight in enumerate(weights) if weight]

    def minimised_loss(self, motivated: bool, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        """Runs the nested models of `loss_terms` on a batch in training mode.

        Returns:
            The loss to minimise; and the loss and the predictions of the smallest of these models, for the condition,
            the logs and the metrics.
        """
        results: list[Any] = []
        for level, weight in self.loss_terms(motivated):
            # Keras tracks the losses of single outputs when it computes them. The logs show those of the first model.
            kept = [(v, ops.copy(v.value)) for v in _keras.output_loss_variables(self)] if results else []
            results.append((weight, *self._forward_and_loss(level, x, y, sample_weight, training=True)))
            for variable, value in kept:
                variable.assign(value)
        weighted = [loss if weight == 1.0 else weight * loss for weight, loss, _ in results]
        return sum(weighted[1:], start=weighted[0]), *results[0][1:]

    def _forward_and_loss(self, level: int, x: Any, y: Any, sample_weight: Any, training: bool) -> tuple[Any, Any]:
        y_pred, self._running.losses = self._forward(level, x, training)
        if training and level not in self._running.ran:  # the first run may build layers
            self.check_variables()
            self._running.ran.add(level)
        try:
            needed = training and not self._compiled_pair.has_loss
            if needed and not check_penalties(self, level, self._running.losses, x):
                return nothing(y_pred), y_pred
            return _keras.compute_loss(self, x, y, y_pred, sample_weight, training), y_pred
        finally:
            self._running.losses = None

    def _forward_assembled(self, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
        """Runs one nested model on tensors of its current weights, and stores what it changes (statistics, seeds).

        Returns:
            Its predictions, and the penalties that its layers add.
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

    def tensor_of(self, variable: Any) -> Any:
        """The current value of a variable."""
        return variable.value

    def call_assembled(self, level: int, x: Any, kwargs: dict[str, Any]) -> Any:
        """Calls a nested model with tensors in the place of its variables."""
        return self._nested[level](x, **kwargs)

    def check_written(self, trained: list[Any]) -> None:
        """Called with the trained variables that a forward pass has written. JAX ignores such writes, as in Keras."""
