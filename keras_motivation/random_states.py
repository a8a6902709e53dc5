"""The random generators of a process, whose states no file of Keras holds: they order the data, among other things."""

import random
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation._backend import generators


def random_states() -> dict[str, Any]:
    """What Python, NumPy, Keras and the backend would draw next, as plain data."""
    name, key, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(key).tolist(), *rest],
        "keras": keras.ops.convert_to_numpy(_keras.global_seed().value).tolist(),
        "backend": [get().tolist() for get, _ in generators()],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Has them draw it again, after a trip through JSON."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(states["numpy"]))
    _keras.global_seed().assign(states["keras"])
    for (_, put), state in zip(generators(), states["backend"]):
        put(state)
