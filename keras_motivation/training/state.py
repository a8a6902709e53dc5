"""The variables, losses and metrics of a pair and their order. Each logical weight is listed once."""

from typing import Any

from keras_motivation import _keras
from keras_motivation.interface import Pair
from keras_motivation.training.levels import largest_of
from keras_motivation.training.metrics.logs import prefixes
from keras_motivation.training.metrics.metric_states import MetricStates


class State(Pair):
    """Part of `MotivatedModel`: the lists that Keras uses to train, save and report."""

    def _stored(self, attribute: str) -> list[Any]:
        """Variables that store something: the base's, then those of each model that smaller ones do not cover."""
        stored = []
        for size, model in enumerate(self._nested):
            stored += self._sharing.stored(size, getattr(model, attribute))
        if attribute == "weights":  # restoring weights does not change counts and memory
            return stored
        for part in (self._compiled_pair.decider, self.trained_examples, self.update_window):
            stored += [] if part is None else getattr(part, attribute)
        return stored

    @property
    def variables(self) -> list[Any]:
        """The whole state of the pair: base, extension, random seeds, the condition's memory. Each weight once."""
        return self._stored("variables")

    @property
    def weights(self) -> list[Any]:
        """The weights of both models, each logical weight once: `variables` without random seeds, memory and counts."""
        return self._stored("weights")

    @property
    def extension_variables(self) -> list[Any]:
        """The variables that store the extension's trained weights.

        For a widened weight, the variable has the shape of the motivated model; the base stores the base's entries.
        """
        trained = {id(v) for v in self._nested[0].trainable_variables}
        return [v for v in self.trainable_variables if id(v) not in trained]

    def trained_variables(self, kind: int) -> list[list[Any]]:
        """The variables that a kind of batch updates: for each model up to the largest one that trains, its own."""
        largest = largest_of(self._compiled_pair.kinds.terms[kind])
        models = enumerate(self._nested[: largest + 1])
        return [self._sharing.stored(size, model.trainable_variables) for size, model in models]

    @property
    def losses(self) -> list[Any]:
        """Penalties (`add_loss`, regularisers) of the nested model that is running, or else those of the base."""
        running = self._running.losses
        return self._nested[0].losses if running is None else running

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics, the shares of motivated batches, and the larger models' values of Keras's metrics."""
        pair = self._compiled_pair
        more = [metric for metric in (pair.condition_logs, pair.batch_log) if metric is not None]
        own = [metric for metrics in self.own_metrics() for metric in metrics]
        return [*self._stock_metrics(), *own, *pair.shares, *pair.metric_states, *more]

    def _stock_metrics(self) -> list[Any]:
        """The metrics in Keras's list."""
        return super().metrics

    @property
    def metric_states(self) -> list[MetricStates]:
        """The larger models' values of the metrics, from `compile` on."""
        return self._compiled_pair.metric_states

    @property
    def next_kind(self) -> Any:
        """What draws the kind of the next batch; None if each level has one kind. (Keras saves what a property has.)"""
        return self._compiled_pair.draw

    @property
    def _kind(self) -> Any:
        """The variable with the number of the next batch's kind, from `compile` on."""
        return self._compiled_pair.decider.level

    def _new_metric_states(self) -> list[MetricStates]:
        return [
            MetricStates(self._stock_metrics, lambda: _keras.directions(self), prefix)
            for prefix in prefixes(len(self._nested))[1:]
        ]

    def build_metric_states(self) -> None:
        """Builds the larger models' values of the metrics, because a compiled function cannot create variables."""
        for states in self.metric_states:
            states.build()

    def attach_state(self) -> None:
        """Writes the state into the variables. On JAX, `fit` stores it elsewhere until the end of the epoch.

        Call it in callbacks that read variables within an epoch. `base` and `motivated` call it themselves.
        """
        if hasattr(self, "jax_state_sync"):
            self.jax_state_sync()

    def reset_metrics(self) -> None:
        """As in Keras, for both models' values."""
        super().reset_metrics()
        self.trained_examples.carry()
        for states in self._compiled_pair.metric_states:
            states.reset_state()
