"""The objective: the loss and the metrics of the pair's `compile`, or those that the nested models compute themselves.

A model may have a `compute_loss`, `compute_metrics`, `metrics` or `compile` of its own: KerasHub's and KerasCV's
detectors do, and many subclasses of users. Then each nested model's methods are called, on its own outputs. What
`compile` makes (the loss, the metrics, the loss tracker) exists once, in the pair, which lends it to the model whose
method it calls. Metrics that a model has made itself belong to that model. In training, the smallest model of a batch
updates the base's, so that the logs are means over all batches.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.checks.hooks import OBJECTIVE, overridden
from keras_motivation.training.metrics.logs import results


def own_objectives(models: list[Any]) -> bool:
    """Whether one of the models computes its loss or its metrics by methods of its own."""
    return any(hook in OBJECTIVE for model in models for hook in overridden(model))


class Objective(Pair):
    """Part of `MotivatedModel`: the methods of `keras.Model` about losses and metrics."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """As in Keras. If the nested models have an objective of their own: that of the model that runs, or the base's.

        Returns:
            The loss, a scalar.
        """
        if not self._running.own_objectives:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if self._running.building:
            self._build_others("compute_loss", x, y, y_pred, sample_weight, training)
        with self.lent() as model, _explained(model, y, "compute_loss"):
            loss = _keras.compute_loss(model, x, y, y_pred, sample_weight, training)
            return _scalar(loss, model) if training else loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """As in Keras, with the methods of the nested models as in `compute_loss`.

        Returns:
            The results by name.
        """
        if not self._running.own_objectives:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        if self._running.building:
            self._build_others("compute_metrics", x, y, y_pred, sample_weight)
        with self.lent() as model, _explained(model, y, "compute_metrics"):
            if keras.backend.backend() == "jax":  # as in the training steps of Keras
                return model.compute_metrics(x, y, y_pred, sample_weight)
            return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def reset_metrics(self) -> None:
        """As in Keras, with the methods of the nested models."""
        if not self._running.own_objectives:
            super().reset_metrics()
            return
        for size in range(len(self._nested)):
            with self.lent(size) as model:
                model.reset_metrics()
        for metric in self.additions():
            metric.reset_state()

    @contextlib.contextmanager
    def lent(self, size: int | None = None) -> Iterator[Any]:
        """A context in which a nested model has what the pair's `compile` made. Gives the model.

        Args:
            size: Its position; None for the one that runs.
        """
        model = self._nested[self._running.size if size is None else size]
        if self._running.lent:  # by the whole step
            yield model
            return
        with _keras.compiled_as(model, self):
            yield model

    @contextlib.contextmanager
    def lent_for(self, kind: int) -> Iterator[None]:
        """A context for a step of a kind of batch: all nested models have what the pair's `compile` made.

        The smallest model of the batch also has the base's own metrics.
        """
        if not self._running.own_objectives or self._running.lent:
            yield
            return
        first = self._compiled_pair.kinds.terms[kind][0][0]
        with contextlib.ExitStack() as stack:
            for model in self._nested:
                stack.enter_context(_keras.compiled_as(model, self))
            if first > 0:
                stack.enter_context(_keras.metrics_as(self._nested[first], self._nested[0]))
            self._running.lent = True
            stack.callback(setattr, self._running, "lent", False)
            yield

    def own_metrics(self) -> list[list[Any]]:
        """For each nested model, the metrics that it has made itself by now, if it computes its own objective."""
        if self._running.own_objectives and self.compiled and not self._running.lent:
            found = []
            for size, layer_metrics in enumerate(self._running.layer_metrics):
                known = {id(metric) for metric in (*_keras.own_loss_and_metrics(self), *layer_metrics)}
                with self.lent(size) as model:
                    found.append([metric for metric in model.metrics if id(metric) not in known])
            self._running.own_metrics = found
        return self._running.own_metrics

    def objective_metrics(self, size: int) -> list[Any]:
        """The metrics that a nested model's own objective may update."""
        if not self._running.own_objectives:
            return []
        own = self.own_metrics()
        return [*_keras.own_loss_and_metrics(self), *own[0], *own[size]]

    @contextlib.contextmanager
    def running_as(self, size: int) -> Iterator[None]:
        """A context in which the objective is that of one nested model."""
        self._running.size, before = size, self._running.size
        try:
            yield
        finally:
            self._running.size = before

    def completed(self, logs: dict[str, Any], size: int) -> dict[str, Any]:
        """The logs of a batch of one model with what others report: compiled branches must have the same logs."""
        if not self._running.own_objectives:
            return logs
        if size == 0:
            return {**self.results_of_larger(), **logs}
        with self.lent(0) as base:
            return {**self.results_of_larger(), **base.get_metrics_result(), **logs}

    def results_of_larger(self) -> dict[str, Any]:
        """The results of the metrics that only larger models have made."""
        base, *larger = self.own_metrics() or [[]]
        known = {metric.name for metric in base}
        return results([metric for metrics in larger for metric in metrics if metric.name not in known])

    def _symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """As in Keras, which builds metrics by a try on symbols, for the own metrics of all models."""
        self._running.building = True
        try:
            super()._symbolic_build(*args, **kwargs)
        finally:
            self._running.building = False

    def _build_others(self, method: str, *args: Any) -> None:
        """Calls a method of all models but the base in such a try."""
        for size in range(1, len(self._nested)):
            with self.lent(size) as model:
                if method == "compute_loss":
                    _keras.compute_loss(model, *args)
                else:
                    model.compute_metrics(*args)

    def metrics_of_base(self) -> list[Any]:
        """The metrics that the base would have as a stock model, in Keras's order."""
        if not self._running.own_objectives:
            return [*_keras.own_loss_and_metrics(self), *self._running.layer_metrics[0]]
        with self.lent(0) as model:
            return model.metrics

    def additions(self) -> list[Any]:
        """The metrics that no nested model has."""
        own = [metric for metrics in self.own_metrics() for metric in metrics]
        compiled = _keras.own_loss_and_metrics(self)
        layers = [metric for metrics in self._running.layer_metrics for metric in metrics]
        theirs = {id(metric) for metric in (*own, *compiled, *layers)} - {id(metric) for metric in self._metrics}
        return [metric for metric in self.metrics if id(metric) not in theirs]


def _scalar(loss: Any, model: Any) -> Any:
    """The loss, if it is one number, which the gradients need."""
    if isinstance(loss, (dict, list, tuple)) or getattr(loss, "shape", ()) not in ((), None):
        received = sorted(loss) if isinstance(loss, dict) else getattr(loss, "shape", type(loss).__name__)
        raise ValueError(
            f"`compute_loss` of '{model.name}' must return one number, the sum of what is to be minimised. Track its "
            f"parts by metrics. Received: {received}"
        )
    return loss


@contextlib.contextmanager
def _explained(model: Any, y: Any, method: str) -> Iterator[None]:
    """A context that adds to an error which model's own method raised it, and what labels it was given."""
    try:
        yield
    except Exception as error:
        labels = "no labels: the batch has only inputs" if y is None else f"labels {_structure(y)}"
        note = f"It was raised in `{method}` of '{model.name}' ({type(model).__name__}), which received {labels}."
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise


def _structure(y: Any) -> str:
    return str(keras.tree.map_structure(lambda part: f"{getattr(part, 'dtype', '')}{getattr(part, 'shape', part)}", y))
