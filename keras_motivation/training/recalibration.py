"""Computes batch-norm statistics again, for the final weights of a model."""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.backend import compiled, untraced
from keras_motivation.interface import Pair
from keras_motivation.nesting.entry import check_built
from keras_motivation.training.checks.hooks import pipeline_of


def recalibrate_batch_norm(model: keras.Model, dataset: Iterable[Any], batches: int | None = None) -> None:
    """Computes the moving statistics of a model's batch norms again, on training data in training mode.

    Moving averages lag behind the weights. In a pair, the other model also changes the shared weights between two
    batches. This function uses the final weights. Afterwards each `moving_mean` and `moving_variance` is the mean and
    (biased) variance of the layer's inputs over all passed batches together, without masked entries. Nothing else
    changes: no weight, no random seed. A norm that does not run in training mode (frozen, or called with
    `training=False`) keeps its statistics.

    For a pair, pass `pair.base` and then `pair.motivated`. (If the pair has `statistics="shared"`, keep a reference to
    the motivated model, because reading `pair.motivated` again restores the base's statistics.)

    Args:
        model: Any built Keras model.
        dataset: Yields batches as for `fit`: `x`, `(x, y)` or `(x, y, sample_weight)`. A few thousand training examples
            are enough. A task of KerasHub preprocesses them, as in its `fit`.
        batches: Maximal number of batches to use; `None` uses all.

    Raises:
        ValueError: If `model` is not built, if `batches` is below 1, if there are no batches, or if a batch does not
            fit the model. Then the model does not change.
        TypeError: If `dataset` is an array or a tuple of arrays instead of an iterable of batches, or if `model` is a
            pair.

    Source: slimmable networks (arXiv 1812.08928) and once-for-all (arXiv 1908.09791), which do this.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> km.recalibrate_batch_norm(model, [np.array([[1.0], [3.0]]), np.array([[5.0], [7.0]])])
        >>> float(model.layers[0].moving_mean[0]), float(model.layers[0].moving_variance[0])
        (4.0, 5.0)
    """
    check_built("model", model)
    if isinstance(model, Pair):
        raise TypeError("Argument `model` must be `pair.base` or `pair.motivated`. Received: the pair")
    if hasattr(dataset, "shape") or (isinstance(dataset, tuple) and all(hasattr(part, "shape") for part in dataset)):
        raise TypeError(
            "Argument `dataset` must yield batches, as a `tf.data.Dataset`, a `PyDataset`, a `DataLoader` or a list of "
            f"batches does. Received: {type(dataset).__name__} of data"
        )
    if batches is not None and (isinstance(batches, bool) or not isinstance(batches, int) or batches < 1):
        raise ValueError(f"Argument `batches` must be an integer of at least 1 or None. Received: batches={batches!r}")
    layers = _keras.all_layers(model)
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    kwargs = {"training": True} if _keras.takes_training(model) else {}

    def forward(trainables: Any, non_trainables: Any, x: Any) -> Any:
        found: list[list[Any]] = [[] for _ in norms]
        with contextlib.ExitStack() as stack:
            stack.enter_context(untraced(layers))
            for layer, moments in zip(norms, found):
                stack.enter_context(_keras.called_as(layer, functools.partial(_call_and_note, layer, moments)))
            model.stateless_call(trainables, non_trainables, x, **kwargs)
        return found

    forward = compiled(forward)
    seen: list[list[Any]] = [[0.0, 0.0, 0.0] for _ in norms]  # number of entries, their sum, the sum of their squares
    some = False
    for x in itertools.islice(_inputs(model, dataset), batches):
        values = ([v.value for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables))
        some = True
        for sums, calls in zip(seen, forward(*values, x)):
            for call in calls:
                entries, mean, variance = (np.asarray(ops.convert_to_numpy(part), "float64") for part in call)
                for i, part in enumerate((1.0, mean, variance + mean**2)):
                    sums[i] = sums[i] + entries * part
    if not some:
        raise ValueError("Argument `dataset` must yield at least one batch. Received: none")
    for layer, (entries, first, second) in zip(norms, seen):
        if entries:
            layer.moving_mean.assign(first / entries)
            layer.moving_variance.assign(np.maximum(second / entries - (first / entries) ** 2, 0.0))


def _call_and_note(layer: Any, moments: list[Any], inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a batch norm. In training mode, records the number, mean and variance of its input entries."""
    if kwargs.get("training") and layer.trainable:
        x, mask = ops.cast(inputs, "float32"), kwargs.get("mask")
        axes = [axis for axis in range(len(x.shape)) if axis != layer.axis % len(x.shape)]
        weights = ops.ones_like(x) if mask is None else ops.zeros_like(x) + ops.cast(mask, "float32")[..., None]
        each = ops.sum(weights, axis=axes)  # the same for every channel
        mean = ops.sum(weights * x, axis=axes) / ops.maximum(each, 1.0)
        place = [1 if axis in axes else -1 for axis in range(len(x.shape))]
        deviation = weights * ops.square(x - ops.reshape(mean, place))
        moments.append((each[0], mean, ops.sum(deviation, axis=axes) / ops.maximum(each, 1.0)))
    return type(layer).call(layer, inputs, *args, **kwargs)


def _inputs(model: keras.Model, dataset: Any) -> Iterator[Any]:
    indexed = isinstance(dataset, keras.utils.PyDataset)  # iterating over it never ends
    for batch in (dataset[i] for i in _indices(dataset)) if indexed else dataset:
        x, *rest = keras.utils.unpack_x_y_sample_weight(batch)
        if pipeline_of(model) is not None:
            x, *_ = keras.utils.unpack_x_y_sample_weight(model.preprocess_samples(x, *rest))
        yield keras.tree.map_structure(lambda part: None if part is None else ops.convert_to_tensor(part), x)


def _indices(dataset: keras.utils.PyDataset) -> Iterable[int]:
    return itertools.count() if dataset.num_batches is None else range(dataset.num_batches)
