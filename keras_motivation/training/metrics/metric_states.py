"""A second set of values for a model's metrics, so that one pass over the data evaluates two models."""

import contextlib
import itertools
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras


class MetricStates(_keras.MetricsList):
    """A second value ("shadow") for every variable of the given metrics.

    Inside `swapped()`, the metrics have their shadow values, and all code that updates or reads them uses these:
    `loss`, `accuracy`, the losses of single outputs, metrics that a subclass updates in `compute_metrics`. This class
    is itself a metric. So its variables belong to the model's state, and are reduced over replicas as the strategy
    does.

    Args:
        metrics_fn: Returns the metrics to shadow. It is called again when metrics are built.
        directions_fn: Returns "up" or "down" for the names of the metrics whose direction is known, for `metrics`.
        prefix: Of the names of the results.
    """

    def __init__(
        self,
        metrics_fn: Callable[[], list[Any]],
        directions_fn: Callable[[], dict[str, str]] = dict,
        prefix: str = "motivated_",
    ) -> None:
        # A `MetricsList` would need `metrics` here.
        keras.metrics.Metric.__init__(self, name=f"{prefix}metrics")
        self.prefix = prefix
        self._metrics_fn = metrics_fn
        self._directions_fn = directions_fn
        # By id of the variable. In a namespace, because Keras would track the variables of a plain dictionary.
        self._shadows = types.SimpleNamespace(pairs={})

    @property
    def metrics(self) -> list[Any]:
        """This model's metrics by name and direction, for callbacks that monitor `val_motivated_*`.

        They are not real metrics: they only have the direction, which Keras reads here.
        """
        return [types.SimpleNamespace(name=self.prefix + k, _direction=v) for k, v in self._directions_fn().items()]

    def build(self) -> None:
        """Adds the shadows of variables that are new since the last call, because Keras builds metrics lazily."""
        for variable in itertools.chain(*(metric.variables for metric in self._metrics_fn())):
            if id(variable) not in self._shadows.pairs:  # composite metrics list the variables of their parts again
                shadow = self.add_variable(
                    variable.shape,
                    initializer="zeros",
                    dtype=variable.dtype,
                    aggregation=variable.aggregation,
                    name=variable.name,
                )
                self._shadows.pairs[id(variable)] = (variable, shadow)

    def reset_state(self) -> None:
        """Copies the values of the metrics, which have been reset before."""
        for variable, shadow in self._shadows.pairs.values():
            shadow.assign(ops.copy(variable.value))  # not the same buffer, because a JAX step donates both

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Exchanges values and shadows on entry, and again on exit."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for variable, shadow in self._shadows.pairs.values():
            kept = ops.copy(variable.value)
            variable.assign(shadow.value)
            shadow.assign(kept)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the metrics are updated inside `swapped()`."""

    def result(self) -> dict[str, Any]:
        """Empty: the results are read from the metrics inside `swapped()`."""
        return {}
