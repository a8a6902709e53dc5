"""Keras's variables: kinds that no public list has, and the backend's own variables."""

from typing import Any

import keras

from keras_motivation._keras.layers import all_layers


def is_seed(variable: Any) -> bool:
    """Whether `variable` is the state of a `keras.random.SeedGenerator`. The two models do not share these states.

    Layers list the states of their generators in `variables`, where only the name shows what they are.
    """
    return variable.name == "seed_generator_state"


def native_variable(variable: Any) -> Any:
    """The backend's own variable. In a `StatelessScope`, the public `Variable.value` is the tensor that replaces it."""
    return variable._value


def buffers(model: Any) -> list[Any]:
    """The weights that were created non-trainable, such as batch norm's moving statistics.

    `Model.non_trainable_weights` also lists weights that are frozen at present.
    """
    return [variable for layer in all_layers(model) for variable in layer._non_trainable_variables]


def _in_strategy() -> bool:
    import tensorflow as tf

    return tf.distribute.has_strategy()


def outside_state(metrics: list[Any]) -> list[Any]:
    """Variables that running a model may change and that are not in `model.variables`.

    These are the metrics that its layers update, and the state of Keras's global random generator. (A JAX step does not
    have this generator, as in Keras itself. A replica of a `tf.distribute` strategy does not have it, because each
    replica is traced in its own thread.)
    """
    found = [variable for metric in metrics for variable in metric.variables]
    backend = keras.backend.backend()
    if backend == "jax" or (backend == "tensorflow" and _in_strategy()):
        return found
    return [*found, global_seed()]


def recurrent_states(model: Any) -> list[Any]:
    """The states of `stateful=True` recurrent layers, which Keras does not list in any layer's variables."""
    found = [getattr(layer, "states", None) for layer in all_layers(model) if getattr(layer, "stateful", False)]
    return [v for v in keras.tree.flatten(found) if isinstance(v, keras.Variable)]


def global_seed() -> Any:
    """The state of the generator that `keras.random` uses without a seed. It has no public name."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator().state
