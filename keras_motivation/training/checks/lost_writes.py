"""Detects that the user wrote shared weights in the motivated model, where the base's values will replace them.

The base stores the shared weights. So `pair.motivated.load_weights(...)`, `set_weights` or a `fit` of that model alone
is undone when `pair.motivated` is read next. This can be detected: the variables have changed since the last `sync`,
the pair has not been trained since, and the values differ from the base's. The first check is cheap (the identity of an
array under JAX, the version of a tensor under PyTorch; TensorFlow has neither, so values are compared), and in most
cases it is enough.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.backend import is_as_marked, mark, readable
from keras_motivation.nesting.placement import positions


class LostWrites:
    """The state of the shared weights in the motivated model at the last `sync`.

    Buffers (batch-norm statistics) are not included, because users may compute them again on purpose.

    Args:
        maps: The `WeightsMap` of each model into the next one.
    """

    def __init__(self, maps: list[Any]) -> None:
        buffers = {id(v) for weights_map in maps for v in _keras.buffers(weights_map.base)}
        self._entries = [e for weights_map in maps for e in weights_map.entries if id(e.base) not in buffers]
        self._names = {id(v): m.motivated.name for m in maps for v in m.motivated.variables}
        self._marks: list[Any] | None = None
        self._examples: Any = None
        self._paused = False

    def note(self, examples: Any) -> None:
        """Remembers the present weights as those of a `sync`.

        Args:
            examples: Number of examples that the pair was trained on, for `warn`.
        """
        if not self._paused:
            self._marks = [(mark(entry.base), mark(entry.motivated)) for entry in self._entries]
            self._examples = examples

    def forget(self) -> None:
        """Forgets the weights, because the pair itself writes them in training."""
        self._marks = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context in which `note` does nothing. Under TensorFlow, the marks would need memory during training."""
        self.forget()
        self._paused, before = True, self._paused
        try:
            yield
        finally:
            self._paused = before

    def warn(self, examples_fn: Callable[[], Any]) -> bool:
        """Warns if the next `sync` would undo what the user wrote.

        Args:
            examples_fn: Returns the number of examples that the pair was trained on until now. If it has increased,
                also by the user's own loop around `train_step`, then training has changed the weights.

        Returns:
            Whether it warned.
        """
        if self._marks is None or not readable():
            return False
        marked = [(e, base) for e, (base, own) in zip(self._entries, self._marks) if not is_as_marked(e.motivated, own)]
        if not marked or examples_fn() != self._examples:
            return False
        found = [entry.motivated for entry, base in marked if _lost(entry, base)]
        lost = [variable.path for variable in found]
        if lost:
            warnings.warn(
                f"Shared weights were written in the motivated model '{self._names[id(found[0])]}', and are now "
                "replaced by the base's, because the base stores them. To keep what you write there, call "
                "`pair.weights_map.copy_to_base()` directly afterwards (with several motivated models, "
                "`copy_to_base()` of each of `pair.weights_maps` from this model down to the base); this changes the "
                "base, too. To train or load "
                "that model separately, save it and use the loaded copy. Received: "
                f"{lost[:5]}{' and others' if lost[5:] else ''}",
                stacklevel=4,
            )
        return bool(lost)


def _lost(entry: Any, base_mark: Any) -> bool:
    whole = tuple(entry.base.shape) == tuple(entry.motivated.shape)
    # The user may have written only the extension's part of a widened weight. If the base has changed, too (another
    # model may train it as a layer), the base's part in the motivated model is old, and nothing can be concluded.
    return _differs(entry) and (whole or is_as_marked(entry.base, base_mark))


def _differs(entry: Any) -> bool:
    base, motivated = entry.base.value, entry.motivated.value
    if not all(getattr(value, "is_fully_addressable", True) for value in (base, motivated)):
        return False  # parts of it are in other processes
    inner, outer = (keras.ops.convert_to_numpy(keras.ops.copy(value)) for value in (base, motivated))
    outer = outer[np.ix_(*positions(entry.index, outer.shape))] if outer.shape else outer
    return not bool(np.all((inner == outer) | ((inner != inner) & (outer != outer))))
