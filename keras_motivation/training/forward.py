"""What a batch computes on every backend: the models that run, their weights, and the loss."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.checks.missing_loss import check_penalties, nothing


class Forward(Pair):
    """Part of `MotivatedModel`. It changes variables; the JAX backend runs it in a `keras.StatelessScope`."""

    def minimised_loss(self, kind: int, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        """Runs the nested models that a kind of batch trains, in training mode.

        Returns:
            The loss to minimise; and the loss and the predictions of the smallest of these models, for the condition,
            the logs and the metrics. (The loss without distillation.)
        """
        results: list[Any] = []
        for size, weight in self._compiled_pair.kinds.terms[kind]:
            # Keras tracks the losses of single outputs when it computes them. The logs show those of the first model.
            kept = [(v, ops.copy(v.value)) for v in _keras.output_loss_variables(self)] if results else []
            results.append((weight, *self._forward_and_loss(size, x, y, sample_weight, training=True)))
            for variable, value in kept:
                variable.assign(value)
        own = [loss for _, loss, _ in results]
        if (distillation := self._compiled_pair.distillation) is not None:
            teacher, names = results[-1][2], getattr(self._nested[0], "output_names", None)
            for i, (_, loss, y_pred) in enumerate(results[:-1]):
                own[i] = loss + distillation.loss(teacher, y_pred, sample_weight, names)
        weighted = [loss if weight == 1.0 else weight * loss for (weight, *_), loss in zip(results, own)]
        return sum(weighted[1:], start=weighted[0]), *results[0][1:]

    def unpacked(self, data: Any) -> tuple[Any, Any, Any]:
        """The inputs, targets and sample weights of a batch. KerasCV's detectors take dictionaries of all that."""
        if self._running.takes_boxes and isinstance(data, dict):
            data = data["images"], data["bounding_boxes"]
        return keras.utils.unpack_x_y_sample_weight(data)

    def _forward_and_loss(self, size: int, x: Any, y: Any, sample_weight: Any, training: bool) -> tuple[Any, Any]:
        def run() -> tuple[Any, list[Any], Any]:
            model = self._nested[size]
            y_pred = model(x, **({"training": training} if self._takes_training[size] else {}))
            losses = model.losses  # and a loss of the model's own is computed here, because it may call layers
            return y_pred, losses, loss(y_pred, losses) if self._running.own_objectives else None

        def loss(y_pred: Any, losses: list[Any]) -> Any:
            needed = training and not self._compiled_pair.has_loss
            if needed and not check_penalties(self, size, losses, x):
                return nothing(y_pred)
            self._running.losses = losses
            try:
                with self.running_as(size):
                    return _keras.compute_loss(self, x, y, y_pred, sample_weight, training)
            finally:
                self._running.losses = None

        y_pred, losses, own_loss = self._on_current_weights(size, run, training)
        if training and size not in self._running.ran:  # the first run may build layers
            self.check_variables()
            self._running.ran.add(size)
        return loss(y_pred, losses) if own_loss is None else own_loss, y_pred

    @contextlib.contextmanager
    def unchanged_by_errors(self, kind: int) -> Iterator[None]:
        """A context after which buffers and seeds are as before, if the first run of a kind of batch fails.

        It is for steps that are not compiled: there, a forward pass has written them when the loss fails.
        """
        sizes = {size for size, _ in self._compiled_pair.kinds.terms[kind]}
        if sizes <= self._running.ran:
            yield
            return
        kept = [(v, ops.copy(v.value)) for model in self._nested for v in model.non_trainable_variables]
        try:
            yield
        except BaseException:
            for variable, value in kept:
                variable.assign(value)
            raise

    def _on_assembled_weights(self, size: int, run: Callable[[], Any]) -> Any:
        """Calls a function while a nested model has tensors of its current weights, and stores what it changes.

        This is what the model's layers change (statistics, seeds, metrics) and what its own objective changes.

        Returns:
            What the function returns.
        """
        if size == 0:
            return run()
        model, sharing = self._nested[size], self._sharing
        metrics = [*self._running.layer_metrics[size], *self.objective_metrics(size)]
        variables = [*model.variables, *_keras.outside_state(metrics)]
        assembled = [
            (v, v.value if sharing.partner(v) is None else sharing.value(v, self.tensor_of)) for v in variables
        ]
        with self.scope_of(assembled) as scope:
            before = {id(v): scope.get_current_value(v) for v in variables}
            results = self.call_assembled(size, run)
        written = [v for v in variables if scope.get_current_value(v) is not before[id(v)]]
        self.check_written([v for v in written if v.trainable])
        for variable in written:
            if not variable.trainable:
                sharing.store(variable, scope.get_current_value(variable))
        return results

    def _for_each_kind(self, function: Callable[..., Any]) -> list[Callable[..., Any]]:
        """A function for each kind of batch, with the number of the kind as its first argument."""
        return [functools.partial(function, kind) for kind in range(len(self._compiled_pair.kinds.terms))]

    def tensor_of(self, variable: Any) -> Any:
        """The current value of a variable."""
        return variable.value

    def scope_of(self, assembled: list[Any]) -> Any:
        """A scope in which variables have the given values, and what is written to them is kept."""
        return keras.StatelessScope(state_mapping=assembled, collect_losses=True)

    def call_assembled(self, size: int, run: Callable[[], Any]) -> Any:
        """Calls a function that runs a nested model with tensors in the place of its variables."""
        return run()

    def check_written(self, trained: list[Any]) -> None:
        """Called with the trained variables that a forward pass has written. JAX ignores such writes, as in Keras."""
