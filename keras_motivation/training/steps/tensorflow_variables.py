"""How TensorFlow's graph uses a variable, and gradients of weights stored in two pieces, also sparse gradients."""

from typing import Any

import tensorflow as tf

READING = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape")  # operations that only read


def users(variable: Any) -> dict[str, str] | None:
    """The operations of the present graph that use a variable: types by name; None if there is no graph."""
    if tf.executing_eagerly():
        return None
    return {operation.name: operation.type for operation in _handle(variable).consumers()}


def written(variable: Any, before: dict[str, str] | None) -> bool:
    """Whether an operation added after `before` may have written a variable. It may be a function that received it."""
    if before is None:
        return True
    return any(kind not in READING for name, kind in (users(variable) or {}).items() if name not in before)


def _handle(variable: Any) -> Any:
    """The handle of a variable in the present graph."""
    graph = tf.compat.v1.get_default_graph()
    return graph.capture(variable.value.handle) if hasattr(graph, "capture") else variable.value.handle


def split(gradient: Any, placement: Any) -> tuple[Any, Any]:
    """The base's part of a widened weight's gradient, and the gradient with zeros in the place of this part."""
    if isinstance(gradient, tf.IndexedSlices):
        if placement.prefix:
            return _split_rows(gradient, placement)
        gradient = tf.convert_to_tensor(gradient)
    return placement.take(gradient), tf.where(placement.mask, tf.zeros_like(gradient), gradient)


def _split_rows(gradient: tf.IndexedSlices, placement: Any) -> tuple[tf.IndexedSlices, tf.IndexedSlices]:
    """The same for a gradient of some rows, as of an embedding. The results are gradients of rows, because optimizers
    compute something different for a dense gradient."""
    rows, *columns = placement.slices
    inside = tf.reshape(gradient.indices < rows.stop, [-1, *([1] * len(columns))])
    mask = tf.logical_and(inside, placement.mask.any(axis=0, keepdims=True))
    values, zero = gradient.values, tf.zeros((), gradient.values.dtype)
    inner = tf.where(inside, values[(slice(None), *columns)], zero)
    # Rows that are not the base's add zero to its first row.
    indices = tf.where(gradient.indices < rows.stop, gradient.indices, tf.zeros_like(gradient.indices))
    rest = tf.IndexedSlices(tf.where(mask, zero, values), gradient.indices, gradient.dense_shape)
    return tf.IndexedSlices(inner, indices, [s.stop for s in placement.slices]), rest


def added(first: Any, second: Any) -> Any:
    """The sum of two gradients; a gradient of rows if both are."""
    if isinstance(first, tf.IndexedSlices) and isinstance(second, tf.IndexedSlices):
        values, indices = ([getattr(g, name) for g in (first, second)] for name in ("values", "indices"))
        return tf.IndexedSlices(tf.concat(values, 0), tf.concat(indices, 0), first.dense_shape)
    return tf.convert_to_tensor(first) + tf.convert_to_tensor(second)
