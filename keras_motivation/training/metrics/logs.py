"""Names and order of results: the base's as in Keras, and those of larger models with a prefix."""

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.interface import Pair

# Log entries that are not results of an evaluation, besides the shares of motivated batches.
COSTS = ("cost_to_base", "cost_to_motivated")


def prefixes(sizes: int) -> list[str]:
    """The prefix of each nested model's results: `motivated_` in a pair, else `motivated_1_`, `motivated_2_`, ..."""
    return ["", "motivated_"] if sizes == 2 else ["", *(f"motivated_{size}_" for size in range(1, sizes))]


def shares(levels: int) -> list[Any]:
    """The metrics for the shares of motivated batches: of all, and with more than two levels of each."""
    more = [keras.metrics.Mean(name=f"level_{level}") for level in range(1, levels)] if levels > 2 else []
    return [keras.metrics.Mean(name="motivated"), *more]


class ConditionLogs(keras.metrics.Metric):
    """What the motivation condition adds to the logs. It has no state of its own.

    Args:
        condition: The condition.
    """

    def __init__(self, condition: Any) -> None:
        super().__init__(name="condition_logs")
        self.names = tuple(condition.logs())
        self._condition = types.SimpleNamespace(itself=condition)  # its variables are not this metric's

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to update."""

    def result(self) -> dict[str, Any]:
        """The condition's values."""
        return dict(self._condition.itself.logs())


class Logs(Pair):
    """Part of `MotivatedModel`."""

    def _flatten_metrics_in_order(self, logs: dict[str, Any]) -> Any:
        """As in Keras: the values of one model, which `evaluate` and `*_on_batch` return without `return_dict`.

        Scripts unpack them by position. So they are the base's values (for a motivated batch, those in the logs), in
        the order of a stock model. Only dictionaries have the share of motivated batches and the motivated model's
        values.
        """
        stock = self.metrics_of_base()
        theirs = self._names_of_other_layers(0)
        known = {*logs, *theirs}
        left_out = {
            name
            for name in logs
            for prefix in prefixes(len(self._nested))[1:]
            if name.startswith(prefix) and name.removeprefix(prefix) in known
        }
        of_larger = set(self.results_of_larger()) - {metric.name for metric in stock}
        left_out |= {*self._training_only(), *theirs, *of_larger}
        kept = {name: value for name, value in logs.items() if name not in left_out}
        return _keras.flatten_metrics_in_order(stock, kept)

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras. If layers of both models have a metric of the same name, the result is the base's.

        In an evaluation of the motivated model, it is the motivated model's.
        """
        if self._running.own_objectives:
            with self.lent() as model:
                return self.results_of_larger() | model.get_metrics_result() | results(self.additions())
        found = super().get_metrics_result()
        own = results(self._running.layer_metrics[self._running.evaluated])
        return found | {name: value for name, value in own.items() if name in found}

    def motivation_logs(self) -> dict[str, Any]:
        """What the condition adds to the logs."""
        return {} if self._compiled_pair.condition_logs is None else self._compiled_pair.condition_logs.result()

    def _training_only(self) -> set[str]:
        logs = self._compiled_pair.condition_logs
        names = () if logs is None else logs.names
        return {*COSTS, *(share.name for share in self._compiled_pair.shares), *names}

    def _names_of_other_layers(self, size: int) -> set[str]:
        """Log entries of metrics that only layers of other nested models have."""
        own = self._running.layer_metrics[size]
        others = [metric for i, theirs in enumerate(self._running.layer_metrics) if i != size for metric in theirs]
        return set(results(others)) - set(results([*_keras.own_loss_and_metrics(self), *own])) if others else set()

    def evaluated(self, logs: dict[str, Any], size: int) -> dict[str, Any]:
        """The results of one model's evaluation. Logs may be nested, as a metric's `result()` may be a dictionary."""
        left_out = self._training_only() | self._names_of_other_layers(size)
        logs = {name: value for name, value in logs.items() if name not in left_out}
        # Some metrics return their variable itself, which has another model's value after the next swap.
        return keras.tree.map_structure(lambda value: ops.copy(ops.convert_to_tensor(value)), logs)

    @contextlib.contextmanager
    def _evaluating(self, size: int) -> Iterator[None]:
        """A context in which the results of layers' metrics are those of one nested model."""
        self._running.evaluated, before = size, self._running.evaluated
        try:
            yield
        finally:
            self._running.evaluated = before


def prefixed(logs: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The same results with a model's prefix; also inside dictionaries, which Keras flattens later."""
    return {f"{prefix}{name}": prefixed(v, prefix) if isinstance(v, dict) else v for name, v in logs.items()}


def results(metrics: list[Any]) -> dict[str, Any]:
    """The results of those metrics that already have one, in Keras's format."""
    found: dict[str, Any] = {}
    for metric in metrics:
        result = metric.result() if _keras.has_result(metric) else {}
        found |= result if isinstance(result, dict) else {metric.name: result}
    return found
