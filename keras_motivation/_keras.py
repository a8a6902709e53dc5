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


def auto_name_number(layer: Any) -> int | None:
    """The running number in a name that Keras itself gave (`conv2d` is 0, `conv2d_3` is 3), or None for a user's name.

    Keras keeps no record of who chose a name, and its snake-case rule (`naming.to_snake_case`) is not exported.
    """
    from keras.src.utils.naming import to_snake_case

    match = re.fullmatch(re.escape(to_snake_case(type(layer).__name__)) + r"(?:_(\d+))?", layer.name)
    return None if match is None else int(match.group(1) or 0)


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
