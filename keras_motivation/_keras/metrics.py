"""Keras's losses and metrics: where a model stores them, and how it computes and reports them."""

import types
from typing import Any

import keras

from keras_motivation._keras.layers import all_layers


def _metrics_list() -> Any:
    try:
        from keras.src.trainers.compile_utils import MetricsList
    except ImportError:  # then callbacks need `mode` again; nothing else is lost
        return keras.metrics.Metric
    return MetricsList


# A metric that contains others, in `metrics`. With `mode="auto"`, callbacks such as `EarlyStopping` search these for
# the direction of the metric that they monitor. There is no public way to tell them.
MetricsList: Any = _metrics_list()


def directions(model: Any) -> dict[str, str]:
    """For each metric passed to `compile`, by name: "up" or "down", if Keras knows which is better.

    There is no public attribute for this.
    """
    compiled = model._compile_metrics
    found = {"loss": "down"}
    for metric in compiled.metrics if compiled is not None else []:
        if hasattr(metric, "_direction"):
            found[metric.name] = metric._direction
    return found


def flatten_metrics_in_order(metrics: list[Any], logs: dict[str, Any]) -> Any:
    """Results as the list, or the number, that a model with these metrics returns without `return_dict`.

    A method of Keras's model decides on the order. It uses nothing of the model except its metrics.
    """
    return keras.Model._flatten_metrics_in_order(types.SimpleNamespace(metrics=metrics), logs)


def own_loss_and_metrics(model: Any) -> list[Any]:
    """The metrics of a compiled model without those of its layers, which are also in `Model.metrics`."""
    return model._get_own_metrics()


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """`model.compute_loss`, also if a subclass overrides it without the argument `training`, as Keras allows."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def loss_tracker(model: Any) -> Any:
    """The metric of the log entry `loss`. It is also in `Model.metrics`, but a subclass may override that list."""
    return model._loss_tracker


def output_loss_variables(model: Any) -> list[Any]:
    """Variables of the metrics for the losses of single outputs, which `compute_loss` updates."""
    return [v for metric in getattr(model._compile_loss, "metrics", []) for v in metric.variables]


def is_plain_divergence(loss: Any) -> bool:
    """Whether a loss is the plain function for 'kl_divergence'.

    Keras's `LogitsDistillation` applies the softmax for an instance of `KLDivergence` only, but makes this function of
    the name, and also of its default. So it compares logits as if they were probabilities.
    """
    return loss is keras.losses.kl_divergence


def has_result(metric: Any) -> bool:
    """Whether a metric has been built. Some, as `F1Score`, are built by their first data, and say so in `_built`."""
    return bool(getattr(metric, "built", True) and getattr(metric, "_built", True))


def layer_metrics(model: Any) -> list[Any]:
    """The metrics of the layers of `model`. `Model.metrics` mixes them with those of `compile`."""
    return [metric for layer in all_layers(model) if not isinstance(layer, keras.Model) for metric in layer.metrics]
