"""The private parts of Keras this package leans on, all in one place.

Each function says why no public call serves. `tests/test_private_keras.py` fails when Keras changes one of them.
"""

import re
from typing import Any

import keras


def direct_sublayers(layer: Any) -> list[Any]:
    """The layers held directly by `layer`, in the order Keras tracks them.

    `Model.layers` exists only on models; a composite layer's sublayers have no public accessor.
    """
    return layer._flatten_layers(include_self=False, recursive=False)


def auto_name(layer: Any) -> tuple[str, int] | None:
    """Kind and running number in a name that Keras itself gave, or None for a user's name.

    `conv2d` is ("conv2d", 0), `conv2d_3` is ("conv2d", 3), and the sublayer that `Bidirectional` calls `forward_lstm_1`
    is ("forward_lstm", 1). Keras keeps no record of who chose a name, and its snake-case rule is not exported.
    """
    from keras.src.utils.naming import to_snake_case

    kind = re.escape(to_snake_case(type(layer).__name__))
    match = re.fullmatch(rf"((?:forward_|backward_)?{kind})(?:_(\d+))?", layer.name)
    return None if match is None else (match.group(1), int(match.group(2) or 0))


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """`model.compute_loss`, also where a subclass overrides it without the `training` argument, as Keras allows."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def loss_tracker(model: Any) -> Any:
    """The mean behind the log entry `loss`. `Model.metrics` holds it too, but a subclass may override that list."""
    return model._loss_tracker


def is_normalization(layer: Any) -> bool:
    """Whether `layer` holds constants of the data (`Normalization`), which are no weights to share."""
    return isinstance(layer, keras.layers.Normalization)


def is_seed(variable: Any) -> bool:
    """Whether `variable` is the state of a `keras.random.SeedGenerator`, which each model keeps to itself.

    Layers list their generators' states in `variables` but mark them only by their name.
    """
    return variable.name == "seed_generator_state"


def buffers(model: Any) -> list[Any]:
    """The weights that were created non-trainable, such as batch norm's moving statistics.

    `Model.non_trainable_weights` also lists what is frozen at present, which is something else.
    """
    layers = [model, *model._flatten_layers(include_self=False)]
    return [variable for layer in layers for variable in layer._non_trainable_variables]


def input_tensors(layer: Any) -> list[Any]:
    """The symbolic inputs of a layer's first call in a functional model; none inside subclassed ones.

    `Layer.input` raises for a layer that is called twice.
    """
    return layer._inbound_nodes[0].input_tensors if getattr(layer, "_inbound_nodes", None) else []


def producer(tensor: Any) -> Any:
    """The layer that made a symbolic tensor, or None."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def outputs_struct(model: Any) -> Any:
    """The symbolic outputs of a functional model as it nests them, or None. `Model.outputs` has lost the keys."""
    return getattr(model, "_outputs_struct", None)


def layer_metrics(model: Any) -> list[Any]:
    """The metrics that layers of `model` hold. `Model.metrics` mixes them with those of `compile`."""
    sublayers = model._flatten_layers(include_self=False)
    return [metric for layer in sublayers if not isinstance(layer, keras.Model) for metric in layer.metrics]


def outside_state(metrics: list[Any]) -> list[Any]:
    """Variables that running a model may change and that are not in `model.variables`.

    These are the metrics that its layers update, and the state of Keras's global random generator, which unseeded calls
    of `keras.random` draw from and which has no public name. (Neither is available in a JAX step, as in Keras itself.)
    """
    from keras.src.random.seed_generator import global_seed_generator

    found = [variable for metric in metrics for variable in metric.variables]
    return found if keras.backend.backend() == "jax" else [*found, global_seed_generator().state]


def portable_config(config: Any) -> Any:
    """A serialised optimizer without the backend in it.

    Under PyTorch, Keras writes the module of its own subclass into the config (`keras.src.backend.torch.optimizers`),
    which no other backend can load. The public class of the same name stands for it everywhere.
    """
    if isinstance(config, dict):
        config = {key: portable_config(value) for key, value in config.items()}
        if str(config.get("module", "")).startswith("keras.src.backend.torch.optimizers"):
            config["module"] = "keras.optimizers"
    return config
