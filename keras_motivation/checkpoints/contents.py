"""The contents of a file of a pair."""

import math
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.interface import Pair


def contents(pair: Pair) -> list[Any]:
    """All variables that a file of the pair has."""
    parts = [*pair._nested, pair.trained_examples, pair.update_window]
    parts += [pair._compiled_pair.decider, *([pair.optimizer] if pair.compiled else [])]
    return [variable for part in parts if part is not None for variable in part.variables]


def size_of(pair: Pair) -> int:
    """Size of a file of the pair in bytes, with some room for what HDF5 needs for each variable."""
    sizes = ((v.shape, keras.backend.standardize_dtype(v.dtype)) for v in contents(pair))
    return sum(4096 + math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in sizes)


def build_optimizer(pair: Pair) -> None:
    """Builds the optimizer's state if it has none, because the file of a compiled pair always has it."""
    if pair.compiled and pair.optimizer is not None and not pair.optimizer.built:
        pair.optimizer.build(pair.trainable_variables)


def seeds_of(pair: Pair) -> list[Any]:
    """The states of all models' random generators, which Keras does not save with any layer."""
    return [v for model in pair._nested for v in model.variables if _keras.is_seed(v)]
