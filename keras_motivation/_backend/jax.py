"""The step under JAX, in two ways, by `compile(dispatch=...)`.

"host" (and "auto"): two compiled functions; the host reads one boolean and calls the right one. On CPU this is the fast
way for convolutions, which XLA:CPU runs on one thread inside `lax.cond` and `lax.scan`.
"graph": one compiled function with a `lax.cond`, so that the host need not wait for the device; `steps_per_execution`
batches are one `lax.scan`.
Where the flag is traced (a user compiles `train_step` himself) the choice falls to `lax.cond` all the same.
"""

import contextlib
import functools
import itertools
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import keras
import numpy as np

from keras_motivation._backend.jax_program import compiled_step
from keras_motivation.updates import batches_applied

STATE = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
# What a step of training, of evaluation and of prediction passes around, by the number of lists.
STATES = {4: STATE, 3: (STATE[0], STATE[1], STATE[3]), 2: STATE[:2]}

DISPATCHES = ("graph", "host")  # where the model of a batch can be chosen


class BackendStep:
    """Mixin of `MotivatedModel` for the JAX backend. State is passed around as in `keras.Model.train_step` on JAX."""

    def __setattr__(self: Any, name: str, value: Any) -> None:
        """As in Keras; but the state, which is set at every batch, is not searched for layers to keep track of: with
        the state of two models that would take the host longer than to start a small step."""
        if name == "_jax_state":
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    def train_step(self: Any, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """One batch: of the motivated model where the last batch's decision says so, else of the base."""
        motivated = state[1][self._flag_position()]
        if isinstance(motivated, jax.core.Tracer):
            train = [functools.partial(self._train_batch, flag) for flag in (True, False)]
            return jax.lax.cond(motivated, *train, state, data)
        return self._train_batch(bool(motivated), state, data)

    def test_step(self: Any, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """One batch of evaluation, of both models."""
        lists = (self.trainable_variables, self.non_trainable_variables, self.metrics_variables)
        with _scope(lists, state) as scope:
            logs = self.evaluate_batch(*keras.utils.unpack_x_y_sample_weight(data))
        return logs, (state[0], *_values(scope, lists[1:]))  # of trained weights nothing is kept, as in Keras

    def _forward(self: Any, level: int, x: Any, training: bool) -> tuple[Any, list[Any]]:
        return self._forward_assembled(level, x, training)  # the state is made of tensors anyway

    def make_train_function(self: Any, force: bool = False) -> None:
        """As in Keras, with one compiled function for each kind of batch."""
        self.metric_states.build()
        if self.train_function is not None and not force:
            return
        if self.run_eagerly or not self.jit_compile:
            super().make_train_function(force=True)  # type: ignore[misc]
            return
        in_graph = self._compiled_pair.dispatch == "graph"
        jit = compiled_step
        if keras.distribution.distribution() is not None:
            shardings = (None, self._get_state_sharding_spec())
            jit = functools.partial(jax.jit, donate_argnums=0, out_shardings=shardings)
        if in_graph:
            one = jit(self.train_step)
        else:
            position = self._flag_position()
            choices = [jit(functools.partial(self._train_batch, flag)) for flag in (False, True)]

            def one(state: Any, data: Any) -> tuple[dict[str, Any], Any]:
                return choices[bool(state[1][position])](state, data)

        if in_graph and self.steps_per_execution > 1:
            many = self._noted(jit(self._train_batches))
            self.train_function = _in_chunks(self._noted(one), many, self.steps_per_execution)
        else:
            # `_make_function` adds the loop of `steps_per_execution`; no public call does.
            self.train_function = self._make_function(one)

    def _make_function(self: Any, step_function: Callable[..., Any], concatenate_outputs: bool = False) -> Any:
        """As in Keras, which makes the functions of training, evaluation and prediction here out of their steps."""
        return super()._make_function(self._noted(step_function), concatenate_outputs)  # type: ignore[misc]

    def _noted(self: Any, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step that notes down the new state before an interrupt is heard: it has given the old one's memory away."""

        def noted(state: Any, data: Any) -> tuple[Any, Any]:
            try:
                with _interrupts_wait():
                    result, state = step(state, data)
                    self._jax_state = dict(zip(STATES[len(state)], state))
            except BaseException:  # Keras itself puts the state back in `fit` only
                self.jax_state_sync()
                raise
            return result, state

        return noted

    def _train_batches(self: Any, state: Any, batches: Any) -> tuple[dict[str, Any], Any]:
        """Several batches, stacked, as one loop of the device. The logs are the last batch's, as in Keras."""

        def step(state: Any, data: Any) -> tuple[Any, dict[str, Any]]:
            logs, after = self.train_step(state, data)
            # A loop's state must not change its type: Python numbers in Keras's metrics promote some.
            return jax.tree.map(lambda new, old: jax.lax.convert_element_type(new, old.dtype), after, state), logs

        state, logs = jax.lax.scan(step, state, batches)
        return jax.tree.map(lambda values: values[-1], logs), state

    def make_test_function(self: Any, force: bool = False) -> None:
        """As in Keras."""
        self.metric_states.build()
        super().make_test_function(force)  # type: ignore[misc]

    def _get_jax_state(self: Any, **kwargs: Any) -> Any:
        """As in Keras, which strips the variables of their values for the epoch. Remembers the values, so that an error
        before the first step is through (in tracing, in the user's loss) does not leave both models empty."""
        # Before each epoch, for a callback may have frozen layers in the last; single batches are checked elsewhere.
        if kwargs.get("optimizer_variables") and kwargs.get("purge_model_variables"):
            self.check_trained()
        names = [name for name in STATE if kwargs.get(name)]
        variables = {"optimizer_variables": self.optimizer.variables} if "optimizer_variables" in names else {}
        variables |= {name: getattr(self, name) for name in names if name not in variables}
        with _interrupts_wait():
            state = super()._get_jax_state(**kwargs)  # type: ignore[misc]
            self._running.state_variables = variables
            self._jax_state = dict(zip(names, state))
            self._jax_state_synced = False
        return state

    def jax_state_sync(self: Any) -> None:
        """As in Keras; but into the variables that the state was taken from, in case layers were frozen meanwhile."""
        if getattr(self, "_jax_state", None) and not self._jax_state_synced:
            for name, values in self._jax_state.items():
                for variable, value in zip(self._running.state_variables[name], values, strict=True):
                    variable.assign(value)
            self._jax_state_synced = True

    def _flag_position(self: Any) -> int:
        flag = self.motivation.motivated
        return next(i for i, v in enumerate(self.non_trainable_variables) if v is flag)

    def _train_batch(self: Any, motivated: bool, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        trainables, others, slots, metrics = state
        lists = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        # The trained variables come first in the list of trainables; the rest is not differentiated at all.
        trained = self.trained_variables(motivated)
        count, late = len(trained), self.late_variables(trained)

        def scaled_loss(trained: Any) -> tuple[Any, Any]:
            with _scope(lists, ([*trained, *trainables[count:]], others, slots, metrics)) as scope:
                minimised, loss, y_pred = self.minimised_loss(motivated, x, y, sample_weight)
                scaled = self.optimizer.scale_loss(minimised)
            _, others_after, _, metrics_after = _values(scope, lists)
            return scaled, (loss, y_pred, others_after, metrics_after)

        gradients, (loss, y_pred, others, metrics) = jax.grad(scaled_loss, has_aux=True)(trainables[:count])
        with _scope(lists, (trainables, others, slots, metrics)):
            gradients = self.clipped(gradients, trained)
            applied = batches_applied(self.optimizer) if gradients else None
            extension_batches = self.update_window.extension_batches.value
        if gradients:  # none where all is frozen, which `stateless_apply` refuses
            with warnings.catch_warnings(), self.optimizing(late, extension_batches):
                # `stateless_apply` wants one gradient a variable; `None` skips one, and warns.
                warnings.filterwarnings("ignore", message="Gradients do not exist for variables")
                gradients = [*gradients, *[None] * (len(trainables) - count)]
                trainables, slots = self.optimizer.stateless_apply(slots, gradients, trainables)
        with _scope(lists, (trainables, others, slots, metrics)) as scope:
            if late:
                self.update_window.count_extension(self.optimizer, applied)
            self.decide(motivated, applied, loss, x)
            logs = self.log_batch(motivated, loss, x, y, y_pred, sample_weight)
        return logs, _values(scope, lists)


def _in_chunks(one: Callable[..., Any], many: Callable[..., Any], count: int) -> Any:
    """A function of the state and an iterator: trains `count` batches in one call; what is left over, one by one."""

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


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Holds back Ctrl-C until the block is through.

    A step donates the state's buffers. An interrupt after that and before the new state is noted down would leave both
    models without weights.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    caught: list[Any] = []
    signal.signal(signal.SIGINT, lambda *arguments: caught.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[0])


def _scope(lists: Any, state: Any) -> Any:
    """A scope in which the variables of `lists` have the values of `state`."""
    pairs = [pair for variables, values in zip(lists, state) for pair in zip(variables, values, strict=True)]
    return keras.StatelessScope(state_mapping=pairs, collect_losses=True)


def _values(scope: Any, lists: Any) -> tuple[Any, ...]:
    return tuple([scope.get_current_value(variable) for variable in variables] for variables in lists)


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """A function that writes each base variable into its motivated variable; from (base, motivated, placement)."""

    @jax.jit
    def assembled(values: Any) -> Any:
        # Copies, since a training step donates the buffers of the base's variables.
        return [jax.numpy.copy(p.place(*pair)) for pair, (_, _, p) in zip(values, shared)]

    def write() -> None:
        new = assembled([(base.value, motivated.value) for base, motivated, _ in shared])
        for (_, motivated, _), value in zip(shared, new):
            motivated.assign(value)

    return write


def placed(inner: Any, outer: Any, slices: tuple[slice, ...]) -> Any:
    """`outer` with `inner` in the place of its first entries. Gradients flow to both."""
    inner, outer = keras.ops.convert_to_tensor(inner), keras.ops.convert_to_tensor(outer)
    return jax.lax.dynamic_update_slice(outer, inner, (0,) * len(slices))


def gradients(running: Callable[[list[Any]], Any], values: list[Any], variables: list[Any]) -> list[Any]:
    """The gradients of the scalar that a context of a list of tensors gives, at `values`, which `variables` have."""

    def function(values: list[Any]) -> Any:
        with running(values) as scalar:
            return scalar

    return jax.grad(function)(values)


def holding(pairs: list[tuple[Any, Any]], model: Any) -> Any:
    """A context in which variables have the values that they are paired with, and a model's state changes but there."""
    return keras.StatelessScope(state_mapping=pairs, collect_losses=True)


def untraced(layers: list[Any]) -> Any:
    """Within this, functions that the layers hold are not traced: here none keeps what is replaced for a time."""
    return contextlib.nullcontext()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, compiled where that pays."""
    return jax.jit(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors without side effects, as one program: each operation by itself costs more, even once."""
    # On a CPU, most of the time would go into optimising what runs once.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    program = jax.jit(function, compiler_options=options)

    def run(*tensors: Any) -> Any:
        try:
            return program(*tensors)
        except Exception:  # of what looks at values, or of a wrong shape, which raises again
            return function(*tensors)

    return run


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Random generators beside Keras's, as functions that get and set their state: none takes part in training."""
    return []
