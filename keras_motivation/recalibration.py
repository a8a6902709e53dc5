"""Batch-norm statistics, estimated anew for the weights that a model ended with."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation._backend import compiled
from keras_motivation.entries import check_built


def recalibrate_batch_norm(model: keras.Model, dataset: Iterable[Any], batches: int | None = None) -> None:
    """Re-estimates the moving statistics of a model's batch norms on training data, in training mode.

    Moving averages lag behind the weights, and in a pair they saw the other model train in between. Here the final
    weights stand still: afterwards each `moving_mean` and `moving_variance` is the mean and (biased) variance of the
    layer's inputs over all passed batches together. Nothing else changes: no weight, no random seed.

    For the pair's models pass `model.base`, and `model.motivated` (hold on to it if the pair has
    `statistics="shared"`, for the next look at `model.motivated` brings the base's back). Layers with `trainable=False`
    keep their statistics, for they do not use the batch's in training.

    Args:
        model: Any built Keras model.
        dataset: Yields batches as for `fit`: `x`, `(x, y)` or `(x, y, sample_weight)`. A few thousand training examples
            are enough.
        batches: How many batches to use, at most; `None` uses all.

    Raises:
        ValueError: If `model` is not built, `batches` is below 1 or there are none, or a batch does not fit the model;
            the model is as before then.
        TypeError: If `dataset` is an array, not an iterable of batches.

    Source: slimmable networks (arXiv 1812.08928) and once-for-all (arXiv 1908.09791), which re-estimate so.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> km.recalibrate_batch_norm(model, [np.array([[1.0], [3.0]]), np.array([[5.0], [7.0]])])
        >>> float(model.layers[0].moving_mean[0]), float(model.layers[0].moving_variance[0])
        (4.0, 5.0)
    """
    check_built("model", model)
    if hasattr(dataset, "shape"):
        raise TypeError(
            "Argument `dataset` must yield batches, as a `tf.data.Dataset`, a `PyDataset`, a `DataLoader` or a list of "
            f"batches does. Received: an array of shape {tuple(dataset.shape)}"
        )
    if batches is not None and (isinstance(batches, bool) or not isinstance(batches, int) or batches < 1):
        raise ValueError(f"Argument `batches` must be an integer of at least 1 or None. Received: batches={batches!r}")
    norms = [
        layer
        for layer in _keras.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not norms:
        return
    statistics = [(layer.moving_mean, layer.moving_variance) for layer in norms]
    own = {id(v) for pair in statistics for v in pair}
    others = [ops.zeros_like(v.value) if id(v) in own else v.value for v in model.non_trainable_variables]
    place = {id(v): i for i, v in enumerate(model.non_trainable_variables)}

    kwargs = {"training": True} if _keras.takes_training(model) else {}

    def forward(trainables: Any, non_trainables: Any, x: Any) -> Any:
        _, after = model.stateless_call(trainables, non_trainables, x, **kwargs)
        return [(after[place[id(mean)]], after[place[id(variance)]]) for mean, variance in statistics]

    forward = compiled(forward)
    examples = 0
    sums: list[tuple[Any, Any]] = [(0.0, 0.0)] * len(norms)
    with _no_memory(norms):
        for x in itertools.islice(_inputs(dataset), batches):
            count = int(keras.tree.flatten(x)[0].shape[0])
            found = forward([v.value for v in model.trainable_variables], others, x)
            for i, moments in enumerate(found):
                mean, variance = (np.asarray(ops.convert_to_numpy(m), "float64") for m in moments)
                sums[i] = (sums[i][0] + count * mean, sums[i][1] + count * (variance + mean**2))
            examples += count
    if not examples:
        raise ValueError("Argument `dataset` must yield at least one batch. Received: none")
    for (moving_mean, moving_variance), (first, second) in zip(statistics, sums):
        moving_mean.assign(first / examples)
        moving_variance.assign(np.maximum(second / examples - (first / examples) ** 2, 0.0))


def _inputs(dataset: Any) -> Iterator[Any]:
    indexed = isinstance(dataset, keras.utils.PyDataset)  # it has a length, and no end when iterated
    for batch in (dataset[i] for i in _indices(dataset)) if indexed else dataset:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        yield keras.tree.map_structure(ops.convert_to_tensor, x)


def _indices(dataset: keras.utils.PyDataset) -> Iterable[int]:
    return itertools.count() if dataset.num_batches is None else range(dataset.num_batches)


@contextlib.contextmanager
def _no_memory(norms: list[Any]) -> Iterator[None]:
    """While this lasts, moving statistics are those of the last batch alone."""
    kept = [layer.momentum for layer in norms]
    try:
        for layer in norms:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(norms, kept):
            layer.momentum = momentum
