"""States of the random generators of the process. They decide the order of the data, and Keras does not save them."""

import random
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.backend import generators


def random_states() -> dict[str, Any]:
    """The states of the generators of Python, NumPy, Keras and the backend, as plain data."""
    name, key, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(key).tolist(), *rest],
        "keras": keras.ops.convert_to_numpy(_keras.global_seed().value).tolist(),
        "backend": [get().tolist() for get, _ in generators()],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Restores the states, as they are read from JSON."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(states["numpy"]))
    _keras.global_seed().assign(states["keras"])
    for (_, put), state in zip(generators(), states["backend"]):
        put(state)
