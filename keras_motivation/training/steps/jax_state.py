"""The state of a pair under JAX: taken out of the variables for an epoch, handed from step to step, and put back."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from keras_motivation.interface import Pair

STATE = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
# The state of a step of training, of evaluation and of prediction, by its number of lists.
STATES = {4: STATE, 3: (STATE[0], STATE[1], STATE[3]), 2: STATE[:2]}


class JaxState(Pair):
    """Part of `MotivatedModel` for the JAX backend."""

    def __setattr__(self, name: str, value: Any) -> None:
        """As in Keras, but does not search the state for layers to track. The state is set at every batch, and for two
        models this search would take the host longer than the start of a small step."""
        if name == "_jax_state":
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    def _make_function(self, step_function: Callable[..., Any], concatenate_outputs: bool = False) -> Any:
        """As in Keras, which here makes the functions of training, evaluation and prediction from their steps."""
        return super()._make_function(self._noted(step_function), concatenate_outputs)

    def _noted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step that stores the new state before it handles an interrupt, because it has donated the old state."""

        def noted(state: Any, data: Any) -> tuple[Any, Any]:
            try:
                with _interrupts_wait():
                    result, state = step(state, data)
                    self._jax_state = dict(zip(STATES[len(state)], state))
            except BaseException:  # Keras itself restores the state only in `fit`
                self.jax_state_sync()
                raise
            return result, state

        return noted

    def _get_jax_state(self, **kwargs: Any) -> Any:
        """As in Keras, which removes the values from the variables during the epoch. This method remembers the values.
        So both models keep them after an error before the end of the first step (in tracing, in the user's loss)."""
        # Before each epoch, because a callback may have frozen layers. Single batches are checked elsewhere.
        if kwargs.get("optimizer_variables") and kwargs.get("purge_model_variables"):
            self.check_trained()
        names = [name for name in STATE if kwargs.get(name)]
        variables = {"optimizer_variables": self.optimizer.variables} if "optimizer_variables" in names else {}
        variables |= {name: getattr(self, name) for name in names if name not in variables}
        with _interrupts_wait():
            state = super()._get_jax_state(**kwargs)
            self._running.state_variables = variables
            self._jax_state = dict(zip(names, state))
            self._jax_state_synced = False
        return state

    def jax_state_sync(self) -> None:
        """As in Keras, but writes into the variables that the state came from, because layers may have been frozen."""
        if getattr(self, "_jax_state", None) and not self._jax_state_synced:
            for name, values in self._jax_state.items():
                for variable, value in zip(self._running.state_variables[name], values, strict=True):
                    variable.assign(value)
            self._jax_state_synced = True


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delays Ctrl-C until the end of the block.

    A step donates the buffers of the state. An interrupt after this and before the new state is stored would leave both
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
