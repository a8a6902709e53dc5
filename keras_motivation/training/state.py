"""The variables, losses and metrics of a pair and their order. Each logical weight is listed once."""

from typing import Any

from keras_motivation.interface import Pair
from keras_motivation.training.metrics.metric_states import MetricStates


class State(Pair):
    """Part of `MotivatedModel`: the lists that Keras uses to train, save and report."""

    def _stored(self, attribute: str) -> list[Any]:
        """Variables that store something: the base's, then those of the other models that the base does not cover."""
        stored = list(getattr(self._nested[0], attribute))
        for weights_map, model in zip(self._maps, self._nested[1:]):
            stored += [v for v in getattr(model, attribute) if not weights_map.is_covered(v)]
        if attribute == "weights":  # restoring weights does not change counts and memory
            return stored
        for part in (self._compiled_pair.motivation, self.trained_examples, self.update_window):
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

    def trained_variables(self, motivated: bool) -> list[Any]:
        """The variables that a batch updates: the base's, or all if the motivated model trains."""
        largest = max(level for level, _ in self.loss_terms(motivated))
        return self.trainable_variables if largest else self._nested[0].trainable_variables

    @property
    def losses(self) -> list[Any]:
        """Penalties (`add_loss`, regularisers) of the nested model that is running, or else those of the base."""
        running = self._running.losses
        return self._nested[0].losses if running is None else running

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics, the share of motivated batches, and the motivated model's values of Keras's metrics."""
        pair = self._compiled_pair
        return self._stock_metrics() + [m for m in (pair.share, pair.metric_states, pair.batch_log) if m is not None]

    def _stock_metrics(self) -> list[Any]:
        """The metrics in Keras's list."""
        return super().metrics

    @property
    def metric_states(self) -> MetricStates:
        """The motivated model's values of the metrics, from `compile` on."""
        return self._compiled_pair.metric_states

    @property
    def _motivated_flag(self) -> Any:
        """The condition's variable that says whether the next batch is motivated, from `compile` on."""
        return self._compiled_pair.motivation.motivated

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
        if self._compiled_pair.metric_states is not None:
            self._compiled_pair.metric_states.reset_state()
