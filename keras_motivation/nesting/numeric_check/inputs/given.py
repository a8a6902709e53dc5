"""Prepares the user's batch for the numeric check."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras

MOST = 16  # samples that are used


def given(model: Any, x: Any) -> Any:
    """Converts the first samples of the user's batch to tensors.

    Args:
        model: The model that receives it.
        x: Arrays or tensors, nested like the model's inputs.

    Returns:
        Tensors in the same structure, with at most 16 samples unless the model's batch size is fixed.

    Raises:
        ValueError: If it is not such a batch, or if no two samples differ.
    """
    expected = "a batch of inputs in the structure of the models' inputs: arrays or tensors of at least 2 samples"
    try:
        arrays = [np.asarray(a) if isinstance(a, list | tuple | int | float) else a for a in keras.tree.flatten(x)]
        sizes = {int(array.shape[0]) for array in arrays}
    except (AttributeError, IndexError, TypeError, ValueError):
        raise ValueError(f"Argument `x` must be {expected}. Received: x=<{type(x).__name__}>") from None
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(f"Argument `x` must be {expected}. Received: arrays of {sorted(sizes)} samples")
    struct = _keras.inputs_struct(model)
    specs = [] if struct is None else keras.tree.flatten(struct)
    if len(specs) != len(arrays):
        specs = [None] * len(arrays)
    if not any(spec is not None and spec.shape and spec.shape[0] for spec in specs):
        arrays = [array[:MOST] for array in arrays]
    tensors = [_tensor(array, spec) for array, spec in zip(arrays, specs)]
    if not any(bool(np.any(n != n[:1])) for n in map(_array, tensors)):
        raise ValueError(
            "Argument `x` must have samples that differ, because equal samples prove nothing. Received: the first "
            f"{len(arrays[0])} of `x` are equal"
        )
    return keras.tree.pack_sequence_as(x, tensors)


def standardised(x: Any) -> Any:
    """The user's batch, with each number standardised over the samples, because large numbers can hide the others."""

    def each(tensor: Any) -> Any:
        if not ops.is_tensor(tensor) or "float" not in keras.backend.standardize_dtype(tensor.dtype):
            return tensor
        deviation = ops.std(tensor, axis=0, keepdims=True)
        return (tensor - ops.mean(tensor, axis=0, keepdims=True)) / ops.where(deviation > 0, deviation, 1.0)

    return keras.tree.map_structure(each, x)


def _tensor(array: Any, spec: Any) -> Any:
    """A tensor with the dtype that the model declares, or with Keras's default. Text is not converted."""
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biuf":
        return array
    tensor = ops.convert_to_tensor(array)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if spec is not None and spec.dtype != "string":
        return ops.cast(tensor, spec.dtype)
    return ops.cast(tensor, keras.config.floatx()) if dtype == "float64" else tensor


def _array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor) if ops.is_tensor(tensor) else np.asarray(tensor)
