"""FLOPs of a forward pass."""

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.costs.flop_counters import forward_flops
from keras_motivation.nesting.entry import check_built


def count_flops(model: keras.Model, input_shape: Any = None) -> int:
    """Counts the FLOPs of a model's forward pass on one example.

    These are 2 x the multiply-adds of convolutions and matrix products in inference. Other operations (norms,
    activations, pooling, resizing, lookups) are not counted, as is usual in the literature. Padding counts as data.

    Args:
        model: A built Keras model.
        input_shape: Shape of one example, without the batch axis, nested like the model's inputs. `None` takes the
            shape from the model. Then the model must not have open axes.

    Returns:
        FLOPs, an integer. Papers that count multiply-adds give half of this number.

    Raises:
        ValueError: If the model is not built, if the shape of its inputs is open or unknown, if `input_shape` does not
            fit, or if a loop in the model has no fixed length.

    Examples:
        >>> import keras
        >>> import keras_motivation as km
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> km.count_flops(model)
        64
    """
    check_built("model", model)
    inputs = _one_example(model, input_shape)
    flash = keras.config.is_flash_attention_enabled()
    keras.config.disable_flash_attention()
    fused = [layer for layer in _keras.all_layers(model) if getattr(layer, "use_cudnn", False)]
    fused = [] if keras.backend.backend() == "torch" else fused  # PyTorch's counter sees their products
    choices = [layer.use_cudnn for layer in fused]
    try:
        for layer in fused:  # one kernel for the whole sequence would hide the matrix products
            layer.use_cudnn = False
        kwargs = {"training": False} if _keras.takes_training(model) else {}
        return int(forward_flops(model, inputs, **kwargs)) // len(keras.tree.flatten(inputs)[0])
    finally:
        for layer, choice in zip(fused, choices):
            layer.use_cudnn = choice
        if flash is not False:
            keras.config.enable_flash_attention()


def _one_example(model: keras.Model, input_shape: Any) -> Any:
    """A batch of one example for the model, nested like its inputs."""
    specs = _keras.inputs_struct(model)
    known = None if specs is None else [tuple(spec.shape[1:]) for spec in keras.tree.flatten(specs)]
    if input_shape is None:
        if known is None or any(size is None for shape in known for size in shape):
            raise ValueError(
                f"Argument `input_shape` must be given for model '{model.name}', whose inputs "
                f"{'are not known' if known is None else f'leave axes open: {known}'}. Received: input_shape=None"
            )
        shapes = known
    else:
        shapes = list(_flat_shapes(input_shape))
        if known is None:
            flat = [keras.KerasTensor((None, *shape)) for shape in shapes if _fits(shape, shape)]
            specs, known = _like(input_shape, iter(flat)) if len(flat) == len(shapes) else None, shapes
        if known is None or len(shapes) != len(known) or not all(map(_fits, shapes, known)):
            raise ValueError(
                "Argument `input_shape` must be the shape of one example, without the batch axis, nested as the inputs "
                f"of model '{model.name}'{'' if known is None else f': {known}'}. Received: input_shape={input_shape}"
            )
    dtypes = [keras.backend.standardize_dtype(spec.dtype) for spec in keras.tree.flatten(specs)]
    sizes = [spec.shape[0] or 1 for spec in keras.tree.flatten(specs)]  # some models have a fixed batch size
    flat = [ops.zeros((n, *shape), dtype=dtype) for n, shape, dtype in zip(sizes, shapes, dtypes)]
    return keras.tree.pack_sequence_as(specs, flat)


def _like(nested: Any, flat: Iterator[Any]) -> Any:
    """A structure of shapes, with the shapes replaced by tensors."""
    if isinstance(nested, dict):
        return {key: _like(nested[key], flat) for key in sorted(nested)}
    if any(isinstance(part, (tuple, list, dict)) for part in nested):
        return type(nested)(_like(part, flat) for part in nested)
    return next(flat)


def _flat_shapes(nested: Any) -> Iterator[tuple[Any, ...]]:
    """The shapes in a structure of shapes, in the order in which Keras flattens it."""
    if isinstance(nested, dict):
        nested = [nested[key] for key in sorted(nested)]
    elif not isinstance(nested, (tuple, list)):
        nested = (nested,)
    if not any(isinstance(part, (tuple, list, dict)) for part in nested):
        yield tuple(nested)
        return
    for part in nested:
        yield from _flat_shapes(part)


def _fits(shape: tuple[Any, ...], known: tuple[Any, ...]) -> bool:
    sizes = all(isinstance(size, int) and size > 0 for size in shape)
    return sizes and len(shape) == len(known) and all(k in (None, size) for size, k in zip(shape, known))
