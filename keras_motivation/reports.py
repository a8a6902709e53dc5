"""How results are named and ordered: the base's as Keras gives them, beside them the motivated model's, prefixed."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras

PREFIX = "motivated_"
# Log entries that say nothing about an evaluation.
TRAINING_ONLY = ("motivated", "cost_to_base", "cost_to_motivated")


class Reports:
    """Mixin of `MotivatedModel`."""

    def _flatten_metrics_in_order(self: Any, logs: dict[str, Any]) -> Any:
        """As in Keras, for what `evaluate` and `*_on_batch` return without `return_dict`: one model's values.

        Scripts unpack them by position, so they are the base's (of a motivated batch, what the logs show), in the order
        of a stock model. The share of motivated batches and the motivated model's values are in dictionaries only.
        """
        stock = [*_keras.own_loss_and_metrics(self), *self._running.layer_metrics[0]]
        theirs = self._names_of_other_layers(0)
        known = {*logs, *theirs}
        left_out = {name for name in logs if name.startswith(PREFIX) and name.removeprefix(PREFIX) in known}
        left_out |= {*TRAINING_ONLY, *theirs}
        kept = {name: value for name, value in logs.items() if name not in left_out}
        return _keras.flatten_metrics_in_order(stock, kept)

    def get_metrics_result(self: Any) -> dict[str, Any]:
        """As in Keras. Where layers of both models keep a metric of the same name, the base's stands.

        In an evaluation of the motivated model, its own does.
        """
        results = super().get_metrics_result()  # type: ignore[misc]
        own = _results(self._running.layer_metrics[self._running.evaluated])
        return results | {name: value for name, value in own.items() if name in results}

    def _names_of_other_layers(self: Any, level: int) -> set[str]:
        """Log entries of metrics that only layers of the other nested model hold."""
        own, other = self._running.layer_metrics[level], self._running.layer_metrics[1 - level]
        return set(_results(other)) - set(_results([*_keras.own_loss_and_metrics(self), *own])) if other else set()

    @contextlib.contextmanager
    def _evaluating(self: Any, level: int) -> Iterator[None]:
        """Within this, the results of layers' metrics are those of one nested model."""
        self._running.evaluated, before = level, self._running.evaluated
        try:
            yield
        finally:
            self._running.evaluated = before


def evaluated(logs: dict[str, Any], left_out: set[str]) -> dict[str, Any]:
    """The results of one model's evaluation, out of logs that may nest: a metric's `result()` may be a dictionary."""
    logs = {name: value for name, value in logs.items() if name not in {*TRAINING_ONLY, *left_out}}
    # Some metrics return their variable itself, which holds the other model's value after the next swap.
    return keras.tree.map_structure(lambda value: ops.copy(ops.convert_to_tensor(value)), logs)


def prefixed(logs: dict[str, Any]) -> dict[str, Any]:
    """The same results under the motivated model's names; inside dictionaries too, which Keras lays flat in the end."""
    return {f"{PREFIX}{name}": prefixed(v) if isinstance(v, dict) else v for name, v in logs.items()}


def _results(metrics: list[Any]) -> dict[str, Any]:
    """The results of metrics that have any yet, as Keras lays them out."""
    found: dict[str, Any] = {}
    for metric in metrics:
        result = metric.result() if getattr(metric, "built", True) else {}
        found |= result if isinstance(result, dict) else {metric.name: result}
    return found
