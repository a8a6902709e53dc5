"""Notices what somebody wrote over the shared weights in the motivated model, which the base's values replace.

The base stores the shared weights, so `pair.motivated.load_weights(...)`, `set_weights` or a `fit` of that model alone
is undone by the next look at it. It can be seen: the variables are not as the last `sync` left them, nobody has trained
the pair since, and they differ from the base's. The first question is cheap (an array's identity under JAX, a tensor's
count of writes under PyTorch; TensorFlow has neither, so values are compared there), and rules out nearly all.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.assembly import positions


class LostWrites:
    """What the shared weights in the motivated model were at the last `sync`.

    Buffers (batch-norm statistics) are left out: whoever estimates them anew has good reason to.

    Args:
        weights_map: The pair's `WeightsMap`.
    """

    def __init__(self, weights_map: Any) -> None:
        buffers = {id(v) for v in _keras.buffers(weights_map.base)}
        self._entries = [entry for entry in weights_map.entries if id(entry.base) not in buffers]
        self._name = weights_map.motivated.name
        self._marks: list[Any] | None = None
        self._examples: Any = None
        self._paused = False

    def note(self, examples: Any) -> None:
        """Takes the weights as they are for those of a `sync`.

        Args:
            examples: How many examples have trained the pair, for `warn`.
        """
        if not self._paused:
            self._marks = [(_mark(entry.base), _mark(entry.motivated)) for entry in self._entries]
            self._examples = examples

    def forget(self) -> None:
        """Nothing is known of the weights any more: the pair itself writes them, in training."""
        self._marks = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within this, `note` does nothing: under TensorFlow the marks would take up memory while the pair trains."""
        self.forget()
        self._paused, before = True, self._paused
        try:
            yield
        finally:
            self._paused = before

    def warn(self, examples_fn: Callable[[], Any]) -> bool:
        """Warns if the next `sync` would undo what somebody wrote.

        Args:
            examples_fn: Returns how many examples have trained the pair by now. After any, also in a loop of the user's
                own around `train_step`, the weights are as training left them.

        Returns:
            Whether it warned.
        """
        if self._marks is None or not _at_hand():
            return False
        marked = [
            (e, base) for e, (base, own) in zip(self._entries, self._marks) if not _is_as_marked(e.motivated, own)
        ]
        if not marked or examples_fn() != self._examples:
            return False
        lost = [entry.motivated.path for entry, base in marked if _lost(entry, base)]
        if lost:
            warnings.warn(
                f"Shared weights of the motivated model '{self._name}' were written in that model, and are now "
                "replaced by the base's, which stores them. To keep what you write there, call "
                "`pair.weights_map.copy_to_base()` right after it, which changes the base too; to train or load that "
                "model apart, save it and use the loaded copy. Received: "
                f"{lost[:5]}{' and others' if lost[5:] else ''}",
                stacklevel=4,
            )
        return bool(lost)


def _lost(entry: Any, base_mark: Any) -> bool:
    whole = tuple(entry.base.shape) == tuple(entry.motivated.shape)
    # Of a widened weight, somebody may have written the rest only. If the base has changed as well, as by a model that
    # trains it as a layer, the part in the motivated model is an old one and says nothing.
    return _differs(entry) and (whole or _is_as_marked(entry.base, base_mark))


def _at_hand() -> bool:
    """Whether values can be looked at: not while TensorFlow traces a function."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return tf.executing_eagerly()


def _mark(variable: Any) -> Any:
    value = variable.value
    if keras.backend.backend() == "torch":
        return value, value._version
    if keras.backend.backend() == "jax":
        return value
    import tensorflow as tf

    return tf.convert_to_tensor(value)  # shares the memory until somebody writes the variable


def _is_as_marked(variable: Any, mark: Any) -> bool:
    value = variable.value
    if keras.backend.backend() == "torch":
        return value is mark[0] and value._version == mark[1]
    if keras.backend.backend() == "jax":
        return value is mark
    import tensorflow as tf

    return bool(tf.reduce_all(tf.equal(value, mark)))


def _differs(entry: Any) -> bool:
    base, motivated = entry.base.value, entry.motivated.value
    if not all(getattr(value, "is_fully_addressable", True) for value in (base, motivated)):
        return False  # parts are in other processes
    inner, outer = (keras.ops.convert_to_numpy(keras.ops.copy(value)) for value in (base, motivated))
    outer = outer[np.ix_(*positions(entry.index, outer.shape))] if outer.shape else outer
    return not bool(np.all((inner == outer) | ((inner != inner) & (outer != outer))))
