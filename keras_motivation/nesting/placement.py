"""Assembles weights: places base tensors inside motivated tensors, and takes them out again.

It uses slices, gathers, a `where`, and each backend's own update of a slice. All of these have gradients
(`keras.ops.slice_update` has none on TensorFlow). An `index` has a `slice` or a 1-D integer array for each axis of the
motivated tensor.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_motivation.backend import placed

Index = tuple[Any, ...]


def positions(index: Index, shape: Sequence[int]) -> list[np.ndarray]:
    """For each axis, the positions in a tensor of `shape` that the index selects, in the order of base entries."""
    return [np.arange(size)[entry] for entry, size in zip(index, shape, strict=True)]


def covers(index: Index, shape: Sequence[int]) -> bool:
    """Whether the index is the whole tensor in its own order, so that nothing has to be assembled."""
    return all(np.array_equal(chosen, np.arange(size)) for chosen, size in zip(positions(index, shape), shape))


class Placement:
    """Places a tensor at an index of a larger one, and takes it out again. Both operations have gradients.

    Args:
        index: One `slice` or 1-D integer array for each axis.
        shape: Shape of the larger (motivated) tensor.
    """

    def __init__(self, index: Index, shape: Sequence[int]) -> None:
        self.index = index
        chosen = positions(index, shape)
        # Only widened axes need work. For each position on such an axis, `inside` says whether a base entry is there,
        # and `source` says which one.
        self.grown = {}
        for axis, (selected, size) in enumerate(zip(chosen, shape)):
            if not np.array_equal(selected, np.arange(size)):
                inside = np.zeros(size, bool)
                inside[selected] = True
                source = np.zeros(size, "int32")
                source[selected] = np.arange(len(selected))
                self.grown[axis] = (selected.astype("int32"), source, inside)
        self.whole = not self.grown
        self.prefix = all(np.array_equal(selected, np.arange(len(selected))) for selected in chosen)
        self.slices = tuple(slice(0, len(selected)) for selected in chosen)
        self.mask = np.ones(
            (1,) * len(chosen), bool
        )  # positions of base entries; broadcasts over axes that are not wider
        for axis, (_, _, inside) in self.grown.items():
            self.mask = self.mask & inside.reshape([-1 if a == axis else 1 for a in range(len(chosen))])

    def place(self, inner: Any, outer: Any) -> Any:
        """The motivated tensor: `inner` at the index, `outer` at all other positions. Gradients flow to both."""
        if self.whole:
            return ops.convert_to_tensor(inner)
        if self.prefix:
            return placed(inner, outer, self.slices)
        for axis, (_, source, _) in self.grown.items():
            inner = ops.take(inner, source, axis=axis)
        return ops.where(self.mask, inner, outer)

    def take(self, outer: Any) -> Any:
        """The base tensor: the entries of `outer` at the index."""
        outer = ops.convert_to_tensor(outer)
        if self.whole:
            return outer
        if self.prefix:
            return outer[self.slices]
        for axis, (selected, _, _) in self.grown.items():
            outer = ops.take(outer, selected, axis=axis)
        return outer
