"""The objective: the loss and the metrics of the pair's `compile`, or those that the nested models compute themselves.

A model may have a `compute_loss`, `compute_metrics`, `metrics` or `compile` of its own: KerasHub's and KerasCV's
detectors do, and many subclasses of users. Then each nested model's methods are called, on its own outputs. What
`compile` makes (the loss, the metrics, the loss tracker) exists once, in the pair, which lends it to the model whose
method it calls. Metrics that a model has made itself belong to that model.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.checks.hooks import OBJECTIVE, overridden


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
        with self.lent() as model, _explained(model, y, "compute_loss"):
            return _scalar(_keras.compute_loss(model, x, y, y_pred, sample_weight, training), model)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """As in Keras, with the methods of the nested models as in `compute_loss`.

        Returns:
            The results by name.
        """
        if not self._running.own_objectives:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        with self.lent() as model, _explained(model, y, "compute_metrics"):
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
        if self._running.lent:  # by the whole step, which `torch.compile` could not do
            yield model
            return
        with _keras.compiled_as(model, self):
            yield model

    @contextlib.contextmanager
    def lent_to_all(self) -> Iterator[None]:
        """A context in which all nested models have what the pair's `compile` made."""
        if not self._running.own_objectives:
            yield
            return
        with contextlib.ExitStack() as stack:
            for model in self._nested:
                stack.enter_context(_keras.compiled_as(model, self))
            self._running.lent = True
            stack.callback(setattr, self._running, "lent", False)
            yield

    def find_own_metrics(self) -> list[list[Any]]:
        """For each nested model, the metrics that it has made itself, if it computes its own objective."""
        found = []
        for size, layer_metrics in enumerate(self._running.layer_metrics if self._running.own_objectives else []):
            known = {id(metric) for metric in (*_keras.own_loss_and_metrics(self), *layer_metrics)}
            with self.lent(size) as model:
                found.append([metric for metric in model.metrics if id(metric) not in known])
        return found

    def objective_metrics(self, size: int) -> list[Any]:
        """The metrics that a nested model's own objective may update."""
        if not self._running.own_objectives:
            return []
        return [*_keras.own_loss_and_metrics(self), *self._compiled_pair.own_metrics[size]]

    @contextlib.contextmanager
    def running_as(self, size: int) -> Iterator[None]:
        """A context in which the objective is that of one nested model."""
        self._running.size, before = size, self._running.size
        try:
            yield
        finally:
            self._running.size = before

    def exchange_metrics(self, size: int, back: bool = False) -> None:
        """Gives a larger model's own metrics the values of the base's, or, afterwards, the base's those of the model.

        In training, the logs of all batches are one mean, whichever model ran. Metrics that have no partner in the
        other model stay as they are.
        """
        if size == 0 or not self._running.own_objectives:
            return
        own = self._compiled_pair.own_metrics
        base, other = ([v for metric in own[i] for v in metric.variables] for i in (0, size))
        if [tuple(v.shape) for v in base] != [tuple(v.shape) for v in other]:
            return
        for inner, outer in zip(base, other):
            target, source = (inner, outer) if back else (outer, inner)
            target.assign(ops.copy(source.value))  # not the same buffer, because a JAX step donates both

    def metrics_of_base(self) -> list[Any]:
        """The metrics that the base would have as a stock model, in Keras's order."""
        if not self._running.own_objectives:
            return [*_keras.own_loss_and_metrics(self), *self._running.layer_metrics[0]]
        with self.lent(0) as model:
            return model.metrics

    def additions(self) -> list[Any]:
        """The metrics that no nested model has."""
        own = [metric for metrics in self._compiled_pair.own_metrics for metric in metrics]
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
