"""How results are named and ordered: the base's as Keras gives them, the motivated model's with a prefix beside them."""

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
        left_out = {*TRAINING_ONLY, *(self._names_of_motivated_layers() if self._running.layer_metrics[1] else ())}
        left_out |= {name for name in logs if name.startswith(PREFIX) and name.removeprefix(PREFIX) in logs}
        kept = {name: value for name, value in logs.items() if name not in left_out}
        return super()._flatten_metrics_in_order(kept)  # type: ignore[misc]

    def _names_of_motivated_layers(self: Any) -> set[str]:
        """Log entries of metrics that only layers of the motivated model hold."""
        base, motivated = self._running.layer_metrics
        others = [*_keras.own_loss_and_metrics(self), *base]
        found, known = ({name for metric in metrics for name in _names(metric)} for metrics in (motivated, others))
        return found - known


def evaluated(logs: dict[str, Any]) -> dict[str, Any]:
    """The results of one model's evaluation, out of logs that may nest: a metric's `result()` may be a dictionary."""
    logs = {name: value for name, value in logs.items() if name not in TRAINING_ONLY}
    # Some metrics return their variable itself, which holds the other model's value after the next swap.
    return keras.tree.map_structure(lambda value: ops.copy(ops.convert_to_tensor(value)), logs)


def prefixed(logs: dict[str, Any]) -> dict[str, Any]:
    """The same results under the motivated model's names; inside dictionaries too, which Keras lays flat in the end."""
    return {f"{PREFIX}{name}": prefixed(v) if isinstance(v, dict) else v for name, v in logs.items()}


def _names(metric: Any) -> list[str]:
    result = metric.result() if getattr(metric, "built", True) else {}
    return list(result) if isinstance(result, dict) else [metric.name]
