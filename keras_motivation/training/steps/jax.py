"""The training step under JAX. `compile(dispatch=...)` chooses one of two ways.

"host" (and "auto"): one compiled function for each level. The host reads the level and calls its function. On a CPU
this is the faster way for convolutions, because XLA:CPU runs them on one thread inside `lax.switch` and `lax.scan`.
"graph": one compiled function with a `lax.switch`, so the host does not wait for the device. `steps_per_execution`
batches are one `lax.scan`.
If the level is traced (a user compiles `train_step`), `lax.switch` is used in both cases.
"""

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras
import numpy as np

from keras_motivation.training.optimizers.updates import batches_applied
from keras_motivation.training.steps.jax_program import compiled_step
from keras_motivation.training.steps.jax_state import JaxState

DISPATCHES = ("graph", "host")  # where the model of a batch can be chosen


class BackendStep(JaxState):
    """Part of `MotivatedModel` for the JAX backend. State is passed around as in `keras.Model.train_step` on JAX."""

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """Trains on one batch, at the level that the condition decided after the last batch."""
        kind = state[1][self._kind_position()]
        if isinstance(kind, jax.core.Tracer):
            return jax.lax.switch(kind, self._for_each_kind(self._train_batch), state, data)
        return self._train_batch(int(kind), state, data)

    def test_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """Evaluates all models on one batch."""
        lists = (self.trainable_variables, self.non_trainable_variables, self.metrics_variables)
        with _scope(lists, state) as scope:
            logs = self.evaluate_batch(*self.unpacked(data))
        return logs, (state[0], *_values(scope, lists[1:]))  # trained weights are not changed, as in Keras

    def _on_current_weights(self, size: int, run: Callable[[], Any], training: bool) -> Any:
        return self._on_assembled_weights(size, run)  # the state consists of tensors in any case

    def make_train_function(self, force: bool = False) -> None:
        """As in Keras, with one compiled function for each kind of batch."""
        self.build_metric_states()
        if self.train_function is not None and not force:
            return
        if self.run_eagerly or not self.jit_compile:
            super().make_train_function(force=True)
            return
        in_graph = self._compiled_pair.dispatch == "graph"
        jit = compiled_step
        if keras.distribution.distribution() is not None:
            shardings = (None, self._get_state_sharding_spec())
            jit = functools.partial(jax.jit, donate_argnums=0, out_shardings=shardings)
        if in_graph:
            one = jit(self.train_step)
        else:
            position = self._kind_position()
            choices = [jit(train) for train in self._for_each_kind(self._train_batch)]

            def one(state: Any, data: Any) -> tuple[dict[str, Any], Any]:
                return choices[int(state[1][position])](state, data)

        if in_graph and self.steps_per_execution > 1:
            many = self._noted(jit(self._train_batches))
            self.train_function = _in_chunks(self._noted(one), many, self.steps_per_execution)
        else:
            # `_make_function` adds the loop of `steps_per_execution`; no public call does.
            self.train_function = self._make_function(one)

    def make_test_function(self, force: bool = False) -> None:
        """As in Keras."""
        self.build_metric_states()
        super().make_test_function(force)

    def _train_batches(self, state: Any, batches: Any) -> tuple[dict[str, Any], Any]:
        """Trains on several stacked batches, as one loop on the device. The logs are the last batch's, as in Keras."""

        def step(state: Any, data: Any) -> tuple[Any, dict[str, Any]]:
            logs, after = self.train_step(state, data)
            # The state of a loop must keep its types, but Python numbers in Keras's metrics promote some of them.
            return jax.tree.map(lambda new, old: jax.lax.convert_element_type(new, old.dtype), after, state), logs

        state, logs = jax.lax.scan(step, state, batches)
        return jax.tree.map(lambda values: values[-1], logs), state

    def _kind_position(self) -> int:
        kind = self._kind
        return next(i for i, v in enumerate(self.non_trainable_variables) if v is kind)

    def _train_batch(self, kind: int, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        lists = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        with self.lent_for(kind):
            return self._train_batch_of(lists, kind, state, data)

    def _train_batch_of(self, lists: Any, kind: int, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        x, y, sample_weight = self.unpacked(data)
        trainables, others, slots, metrics = state
        # The trained variables are the first ones of the trainables. The others are not differentiated.
        by_model = self.trained_variables(kind)
        trained = [v for own in by_model for v in own]
        count = len(trained)

        def scaled_loss(trained: Any) -> tuple[Any, Any]:
            with _scope(lists, ([*trained, *trainables[count:]], others, slots, metrics)) as scope:
                minimised, loss, y_pred = self.minimised_loss(kind, x, y, sample_weight)
                scaled = self.optimizer.scale_loss(minimised)
            _, others_after, _, metrics_after = _values(scope, lists)
            return scaled, (loss, y_pred, others_after, metrics_after)

        gradients, (loss, y_pred, others, metrics) = jax.grad(scaled_loss, has_aux=True)(trainables[:count])
        with _scope(lists, (trainables, others, slots, metrics)):
            gradients = self.clipped(gradients, trained)
            applied = batches_applied(self.optimizer) if gradients else None
            extension_batches = [v.value for v in self.update_window.extension_batches]
        if gradients:  # there are none if everything is frozen, which `stateless_apply` refuses
            with warnings.catch_warnings(), self.optimizing(by_model, extension_batches):
                # `stateless_apply` needs a gradient for each variable. It skips a variable for `None`, with a warning.
                warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
                gradients = [*gradients, *[None] * (len(trainables) - count)]
                trainables, slots = self.optimizer.stateless_apply(slots, gradients, trainables)
        with _scope(lists, (trainables, others, slots, metrics)) as scope:
            if gradients:
                self.update_window.count_extensions(by_model, self.optimizer, applied)
            self.decide(kind, applied, loss, x)
            logs = self.log_batch(kind, loss, x, y, y_pred, sample_weight)
        return logs, _values(scope, lists)


def _in_chunks(one: Callable[..., Any], many: Callable[..., Any], count: int) -> Any:
    """A function of the state and an iterator. It trains `count` batches in one call, and the rest one by one."""

    def train_function(state: Any, iterator: Iterator[Any]) -> tuple[dict[str, Any], Any]:
        batches = [next(iterator), *itertools.islice(iterator, count - 1)]
        shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(batch)) for batch in batches}
        if len(batches) == count and len(shapes) == 1:
            return many(state, jax.tree.map(lambda *leaves: _stacked(leaves), *batches))
        for batch in batches:
            logs, state = one(state, batch)
        return logs, state

    return train_function


def _stacked(leaves: Any) -> Any:
    return (jax.numpy if isinstance(leaves[0], jax.Array) else np).stack(leaves)


def _scope(lists: Any, state: Any) -> Any:
    """A scope in which the variables in `lists` have the values in `state`."""
    pairs = [pair for variables, values in zip(lists, state) for pair in zip(variables, values, strict=True)]
    return keras.StatelessScope(state_mapping=pairs, collect_losses=True)


def _values(scope: Any, lists: Any) -> tuple[Any, ...]:
    return tuple([scope.get_current_value(variable) for variable in variables] for variables in lists)
