"""Operations on tensors and variables under TensorFlow."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_motivation import _keras

UNTRACED = 10  # calls of a repeated function before it is traced


def holds_function(layer: Any) -> bool:
    """Whether a layer has a `tf.function`, which keeps values from the time when it was traced."""
    attributes = (*vars(type(layer)).values(), *vars(layer).values())
    return any(isinstance(value, tf.types.experimental.PolymorphicFunction) for value in attributes)


@contextlib.contextmanager
def untraced(layers: list[Any]) -> Iterator[None]:
    """A context in which functions of layers are not traced, because a trace would keep temporary values."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(before or any(map(holds_function, layers)))
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def writer(shared: list[tuple[Any, Any, Any]]) -> Callable[[], None]:
    """Returns a function that writes each base variable into its motivated variable, by its placement."""

    def write() -> None:
        for base, motivated, placement in shared:
            # Not `motivated.value[slices].assign`: after it, TensorFlow copies the variable whenever it is read.
            motivated.assign(placement.place(base.value, motivated.value))

    return write


def repeated(write: Callable[[], None], variables: list[Any]) -> Callable[[], None]:
    """A function that writes variables and is called again and again, as one operation from some call on.

    Each write is an operation of its own, which for many weights takes as long as a training step. To trace them takes
    longer still, so the first calls are not traced.

    Args:
        write: The function.
        variables: The variables that it writes.
    """
    replicated = any(isinstance(_keras.native_variable(v), tf.distribute.DistributedValues) for v in variables)
    traced, calls = tf.function(write, autograph=False), itertools.count()

    def run() -> None:
        (write if replicated or not tf.executing_eagerly() or next(calls) < UNTRACED else traced)()

    return run


def placed(inner: Any, outer: Any, slices: tuple[slice, ...]) -> Any:
    """Returns `outer` with its first entries replaced by `inner`. Gradients flow to both."""
    outer = tf.convert_to_tensor(outer)
    covered = list(slices)  # the part of `outer` that `inner` covers so far
    for axis, size in enumerate(outer.shape):
        if covered[axis].stop < size:
            rest = [*covered[:axis], slice(covered[axis].stop, size), *covered[axis + 1 :]]
            # Not an update of the slice: only a concatenation keeps the gradient of an embedding sparse, and for a
            # dense gradient optimizers compute something different.
            inner = tf.concat([inner, outer[tuple(rest)]], axis)
            covered[axis] = slice(0, size)
    return inner


def gradients(
    running: Callable[[list[Any]], Any], values: list[Any], variables: list[Any]
) -> tuple[list[Any], list[Any]]:
    """The gradients at `values`, which `variables` have, of the scalar from the context `running(values)`, and the
    tensors that it gives besides. The gradient is None for a variable on which the scalar does not depend."""
    own = [_keras.native_variable(variable) for variable in variables]
    with tf.GradientTape() as tape:
        tape.watch(own)
        with running(values) as (scalar, tensors):  # inside, because layers may recompute their result
            return [g if g is None else tf.convert_to_tensor(g) for g in tape.gradient(scalar, own)], tensors


class holding:  # noqa: N801 (a context manager)
    """A context in which variables have given values. Changes of a model's state are undone after it.

    The values are really assigned. A `tf.function` in a layer runs eagerly, because a trace would keep the temporary
    values and replaced calls for ever.
    """

    def __init__(self, pairs: list[tuple[Any, Any]], model: Any) -> None:
        self._pairs = pairs
        metrics = _keras.layer_metrics(model)
        self._changing = [v for v, _ in pairs] + _keras.outside_state(metrics) + _keras.recurrent_states(model)

    def __enter__(self) -> "holding":
        self._eager = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        self._kept = [tf.identity(v.value) for v in self._changing]
        for variable, value in self._pairs:
            variable.assign(value)
        return self

    def __exit__(self, *error: Any) -> None:
        tf.config.run_functions_eagerly(self._eager)
        for variable, value in zip(self._changing, self._kept):
            variable.assign(value)

    def get_current_value(self, variable: Any) -> Any:
        """The value of a variable at this point of the run."""
        return tf.identity(variable.value)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors without side effects, if the backend gains from it."""
    return tf.function(function)


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors without side effects for a single call. Here this gains nothing."""
    return function


def generators() -> list[tuple[Callable[[], Any], Callable[[Any], None]]]:
    """Other random generators than Keras's, as functions that get and set their state. Training uses none of them."""
    return []


def readable() -> bool:
    """Whether values can be read now. They cannot while a function is traced."""
    return tf.executing_eagerly()


def mark(variable: Any) -> Any:
    """A mark that shows later whether a variable has been written; see `is_as_marked`."""
    return tf.convert_to_tensor(variable.value)  # shares the memory until the variable is written


def is_as_marked(variable: Any, mark: Any) -> bool:
    """Whether a variable has not been written since it was marked: its values are the same (nothing counts writes)."""
    return bool(tf.reduce_all(tf.equal(variable.value, mark)))


def unshared(tensor: Any) -> Any:
    """The tensor itself: here no layer can change a tensor."""
    return tensor
