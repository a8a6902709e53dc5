"""Names and order of results: the base's as in Keras, and the motivated model's with a prefix."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair

PREFIX = "motivated_"
# Log entries that are not results of an evaluation.
TRAINING_ONLY = ("motivated", "cost_to_base", "cost_to_motivated")


class Logs(Pair):
    """Part of `MotivatedModel`."""

    def _flatten_metrics_in_order(self, logs: dict[str, Any]) -> Any:
        """As in Keras: the values of one model, which `evaluate` and `*_on_batch` return without `return_dict`.

        Scripts unpack them by position. So they are the base's values (for a motivated batch, those in the logs), in
        the order of a stock model. Only dictionaries have the share of motivated batches and the motivated model's
        values.
        """
        stock = [*_keras.own_loss_and_metrics(self), *self._running.layer_metrics[0]]
        theirs = self._names_of_other_layers(0)
        known = {*logs, *theirs}
        left_out = {name for name in logs if name.startswith(PREFIX) and name.removeprefix(PREFIX) in known}
        left_out |= {*TRAINING_ONLY, *theirs}
        kept = {name: value for name, value in logs.items() if name not in left_out}
        return _keras.flatten_metrics_in_order(stock, kept)

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras. If layers of both models have a metric of the same name, the result is the base's.

        In an evaluation of the motivated model, it is the motivated model's.
        """
        results = super().get_metrics_result()
        own = _results(self._running.layer_metrics[self._running.evaluated])
        return results | {name: value for name, value in own.items() if name in results}

    def _names_of_other_layers(self, level: int) -> set[str]:
        """Log entries of metrics that only layers of the other nested model have."""
        own, other = self._running.layer_metrics[level], self._running.layer_metrics[1 - level]
        return set(_results(other)) - set(_results([*_keras.own_loss_and_metrics(self), *own])) if other else set()

    @contextlib.contextmanager
    def _evaluating(self, level: int) -> Iterator[None]:
        """A context in which the results of layers' metrics are those of one nested model."""
        self._running.evaluated, before = level, self._running.evaluated
        try:
            yield
        finally:
            self._running.evaluated = before


def evaluated(logs: dict[str, Any], left_out: set[str]) -> dict[str, Any]:
    """The results of one model's evaluation. Logs may be nested, because a metric's `result()` may be a dictionary."""
    logs = {name: value for name, value in logs.items() if name not in {*TRAINING_ONLY, *left_out}}
    # Some metrics return their variable itself, which has the other model's value after the next swap.
    return keras.tree.map_structure(lambda value: ops.copy(ops.convert_to_tensor(value)), logs)


def prefixed(logs: dict[str, Any]) -> dict[str, Any]:
    """The same results with the motivated model's prefix; also inside dictionaries, which Keras flattens later."""
    return {f"{PREFIX}{name}": prefixed(v) if isinstance(v, dict) else v for name, v in logs.items()}


def _results(metrics: list[Any]) -> dict[str, Any]:
    """The results of those metrics that already have one, in Keras's format."""
    found: dict[str, Any] = {}
    for metric in metrics:
        result = metric.result() if getattr(metric, "built", True) else {}
        found |= result if isinstance(result, dict) else {metric.name: result}
    return found
