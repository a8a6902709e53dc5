"""A second set of values for a model's metrics, so that one pass over the data evaluates two models."""

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.reports import PREFIX


class MetricStates(_keras.MetricsList):
    """A shadow value for every variable of the given metrics.

    Within `swapped()`, the metrics hold the shadow values and whatever updates or reads them acts on those: `loss`,
    `accuracy`, the losses of single outputs, metrics that a subclass updates in `compute_metrics`. It is itself a
    metric, so that its variables travel with the model's state and follow the strategy's reduction over replicas.

    Args:
        variables_fn: Returns the metric variables to shadow; called again as metrics get built.
        directions_fn: Returns "up" or "down" for the names of the metrics whose direction is known, for `metrics`.
    """

    def __init__(
        self,
        variables_fn: Callable[[], list[Any]],
        directions_fn: Callable[[], dict[str, str]] = dict,
        name: str = "motivated_metrics",
    ) -> None:
        keras.metrics.Metric.__init__(self, name=name)  # a `MetricsList` would want `metrics` now
        self._variables_fn = variables_fn
        self._directions_fn = directions_fn
        # By id of the shadowed variable. In a namespace, for Keras would track a plain dictionary's variables as ours.
        self._shadows = types.SimpleNamespace(pairs={})

    @property
    def metrics(self) -> list[Any]:
        """The motivated model's metrics by name and direction, for callbacks that monitor `val_motivated_*`.

        They are no metrics: all that is to be found in them is the direction that Keras looks for here.
        """
        return [types.SimpleNamespace(name=PREFIX + k, _direction=v) for k, v in self._directions_fn().items()]

    def build(self) -> None:
        """Adds the shadows of variables that appeared since the last call. Metrics are built lazily by Keras."""
        for variable in self._variables_fn():
            if id(variable) not in self._shadows.pairs:
                shadow = self.add_variable(
                    variable.shape,
                    initializer="zeros",
                    dtype=variable.dtype,
                    aggregation=variable.aggregation,
                    name=variable.name,
                )
                self._shadows.pairs[id(variable)] = (variable, shadow)

    def reset_state(self) -> None:
        """Takes over the values of the metrics themselves, which have been reset before."""
        for variable, shadow in self._shadows.pairs.values():
            shadow.assign(ops.copy(variable.value))  # a JAX step donates both; they must not be one buffer

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
        """Nothing of its own to update."""

    def result(self) -> dict[str, Any]:
        """Nothing of its own to report: the results are read from the metrics within `swapped()`."""
        return {}
