"""Operations on tensors and variables under JAX."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import keras


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """Returns a function that writes each base variable into its motivated variable, by its placement."""

    @jax.jit
    def assembled(values: Any) -> Any:
        # Copies, because a training step donates the buffers of the base's variables.
        return [jax.numpy.copy(p.place(*pair)) for pair, (_, _, p) in zip(values, shared)]

    def write() -> None:
        new = assembled([(base.value, motivated.value) for base, motivated, _ in shared])
        for (_, motivated, _), value in zip(shared, new):
            motivated.assign(value)

    return write


def repeated(write: Callable[[], None], variables: list[Any]) -> Callable[[], None]:
    """A function that writes variables and is called again and again. Here nothing makes it faster."""
    return write


def placed(inner: Any, outer: Any, slices: tuple[slice, ...]) -> Any:
    """Returns `outer` with its first entries replaced by `inner`. Gradients flow to both."""
    inner, outer = keras.ops.convert_to_tensor(inner), keras.ops.convert_to_tensor(outer)
    return jax.lax.dynamic_update_slice(outer, inner, (0,) * len(slices))


def gradients(
    running: Callable[[list[Any]], Any], values: list[Any], variables: list[Any]
) -> tuple[list[Any], list[Any]]:
    """The gradients at `values`, which `variables` have, of the scalar from the context `running(values)`; and the
    tensors that it gives besides."""

    def function(values: list[Any]) -> Any:
        with running(values) as found:
            return found

    return jax.grad(function, has_aux=True)(values)


def holding(pairs: list[tuple[Any, Any]], model: Any) -> Any:
    """A context in which variables have given values. Changes of a model's state are undone after it."""
    return keras.StatelessScope(state_mapping=pairs, collect_losses=True)


def untraced(layers: list[Any]) -> Any:
    """A context in which functions of layers are not traced. Not needed here: they do not keep temporary values."""
    return contextlib.nullcontext()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors without side effects, if the backend gains from it."""
    return jax.jit(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors without side effects for a single call; separate operations would cost more."""
    # On a CPU, most of the time would be spent on optimising a program that runs once.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    program = jax.jit(function, compiler_options=options)

    def run(*tensors: Any) -> Any:
        try:
            return program(*tensors)
        except Exception:  # the function reads values, or a shape is wrong, which raises again
            return function(*tensors)

    return run


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Other random generators than Keras's, as functions that get and set their state. Training uses none of them."""
    return []


def readable() -> bool:
    """Whether values can be read now. Here they always can."""
    return True


def mark(variable: Any) -> Any:
    """A mark that shows later whether a variable has been written; see `is_as_marked`."""
    return variable.value


def is_as_marked(variable: Any, mark: Any) -> bool:
    """Whether a variable has not been written since it was marked: its array is the same."""
    return variable.value is mark


def unshared(tensor: Any) -> Any:
    """The tensor itself: here no layer can change a tensor."""
    return tensor
