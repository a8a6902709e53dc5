"""Configs that leave out arguments of the constructor, so that Keras loads another model than was saved.

In KerasHub 0.32, `LlamaBackbone` leaves out `tie_word_embeddings`, and `EfficientNetBackbone` `num_features`.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.checkpoints.random_states import random_states, set_random_states

PLAIN = (bool, int, float, str, list, tuple)
SET_ELSEWHERE = ("name", "dtype", "trainable", "data_format")
LARGEST = 50_000_000  # parameters of a model that is built again


def left_out(model: keras.Model) -> Iterator[str]:
    """What the configs of a model and of the models in it leave out, in sentences.

    An argument is seen if it is an attribute of the same name. If it is not, and the model is not too large, the model
    is built again, and its weights are compared.
    """
    for saved in _keras.all_layers(model):
        if isinstance(saved, keras.Model) and type(saved).__module__.split(".")[0] != "keras":
            try:
                config = saved.get_config()
            except Exception:  # a nested model need not be a part of the config
                continue
            yield from _left_out(saved, config)


def _left_out(model: keras.Model, config: dict[str, Any]) -> Iterator[str]:
    unknown = []
    for name, parameter in inspect.signature(type(model).__init__).parameters.items():
        default = parameter.default
        if name in config or name in SET_ELSEWHERE or not isinstance(default, PLAIN):
            continue
        value = getattr(model, name, None)
        if type(value) is not type(default):
            unknown.append(name)
        elif value != default:
            yield (
                f"the config of `{type(model).__name__}` leaves out `{name}`: the loaded model would have "
                f"{name}={default!r} instead of {value!r}"
            )
    if unknown and model.count_params() <= LARGEST and not _same_weights(model, config):
        names = ", ".join(f"`{name}`" for name in unknown)
        yield f"the config of `{type(model).__name__}` leaves out {names}: the loaded model would have other shapes"


def _same_weights(model: keras.Model, config: dict[str, Any]) -> bool:
    """Whether a model of this config has the same weights. The random numbers that follow are as without this."""
    states = random_states()
    try:
        other = type(model).from_config(config)
    except Exception:  # of which the config as a whole tells
        return True
    finally:
        set_random_states(states)
    return [tuple(v.shape) for v in other.variables] == [tuple(v.shape) for v in model.variables]
