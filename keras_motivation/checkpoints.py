"""How a pair is written and read: whole files, with all that the next batch depends on, into a pair that they fit."""

import contextlib
import math
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_motivation import _keras
from keras_motivation.descriptions import decode, describe, differences, encode
from keras_motivation.whole_files import is_local_file, may_write, whole_file

# Warnings of Keras's optimizers and of our conditions, which keep their state where the file has none that fits.
SKIPPED = r"Skipping variable loading for optimizer|The file holds no memory of the motivation condition"

NOT_HDF5 = (
    "Argument `filepath` must end in `.keras`: Keras's older format, HDF5, loads no pair again. (`save_weights` writes "
    "`.weights.h5`.) Received: filepath={}"
)
OF_THE_BASE = (
    "of the base alone, not of a pair. Load it by `pair.base.load_weights(...)`; the motivated model takes the shared "
    "weights from there."
)
OF_THE_MOTIVATED = (
    'of the motivated model alone, not of a pair. Load it before you make the pair, with `initialize="motivated"`; or '
    "by `pair.motivated.load_weights(...)`, and then give the base its part by `pair.weights_map.copy_to_base()`."
)


class Checkpoints:
    """Mixin of `MotivatedModel`."""

    def save(self: Any, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """As `keras.Model.save`. A `.keras` file is written beside its place and then moved there.

        Whoever is killed, or runs out of disk, leaves the former file whole. (Folders, `zipped=False`, and remote paths
        are written as Keras does.)

        Raises:
            ValueError: If `filepath` ends in `.h5` or `.hdf5`: that older format loads no pair again.
        """
        if zipped is not False and str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(NOT_HDF5.format(repr(str(filepath))))
        if zipped is False or not is_local_file(filepath, ".keras"):
            super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)  # type: ignore[misc]
        elif may_write(filepath, overwrite):
            with whole_file(filepath, _size(self)) as partial:
                super().save(partial, zipped=zipped, **kwargs)  # type: ignore[misc]

    def save_weights(self: Any, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """As `keras.Model.save_weights`. A file is written beside its place and then moved there, as in `save`."""
        if max_shard_size is not None or not is_local_file(filepath, ".weights.h5"):
            super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)  # type: ignore[misc]
        elif may_write(filepath, overwrite):
            with whole_file(filepath, _size(self)) as partial:
                super().save_weights(partial)  # type: ignore[misc]

    def load_weights(self: Any, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """As `keras.Model.load_weights`, all or nothing: after an error, the pair is as it was.

        Weights of a pair that was not compiled leave the optimizer's state and the condition's memory as they are, and
        warn. Compile before you load the weights of one that was, if its training is to go on.

        Raises:
            ValueError: If the file does not fit; it says what differs: variables, the weights map, the optimizer, the
                condition. (Keras warns and goes on without the optimizer's state.) `skip_mismatch=True` loads what
                fits, as in Keras.
        """
        if skip_mismatch:
            super().load_weights(filepath, skip_mismatch=True, **kwargs)  # type: ignore[misc]
            self._lost_writes.forget()
            return
        self.attach_state()
        self._build_optimizer()
        self._of_weights_alone = self._of_a_pair = False  # until `load_own_variables` has seen the file
        window = [keras.ops.copy(variable.value) for variable in self.update_window.variables]
        with self._explained(filepath), _unchanged_by_errors(self), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            super().load_weights(filepath, **kwargs)  # type: ignore[misc]
            skipped = [str(warning.message) for warning in caught if re.match(SKIPPED, str(warning.message))]
            if skipped and not self._of_weights_alone:
                raise ValueError(f"The file '{filepath}' does not fit the pair '{self.name}'. {' '.join(skipped)}")
        if self._of_weights_alone:  # the optimizer's window goes on
            for variable, value in zip(self.update_window.variables, window):
                variable.assign(value)
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    @contextlib.contextmanager
    def _explained(self: Any, filepath: Any) -> Iterator[None]:
        """Says where a file belongs that does not load because it is of one of the models alone."""
        try:
            yield
        except Exception as error:
            if self._of_a_pair or not os.path.exists(filepath):
                raise
            self._lost_writes.forget()
            base, motivated = (_loads(model, filepath) for model in self._nested)
            if base or motivated:
                raise ValueError(f"The file '{filepath}' is {OF_THE_BASE if base else OF_THE_MOTIVATED}") from error
            raise

    def save_own_variables(self: Any, store: Any) -> None:
        """Writes what no layer does: random seeds, and what the pair is. Keras calls it first of all.

        The motivated model is brought up to date before it is its turn, and an optimizer without state yet gets it: a
        file of a compiled pair holds all of it.
        """
        self.sync()
        self._build_optimizer()
        store["pair"] = encode(describe(self))
        if seeds := self._seeds():
            store["seeds"] = np.stack([keras.ops.convert_to_numpy(v.value) for v in seeds]).astype("uint32")

    def load_own_variables(self: Any, store: Any) -> None:
        """Reads the seeds, and refuses a file that does not fit.

        Raises:
            ValueError: If it does not.
        """
        if "pair" not in store.keys():  # noqa: SIM118 (Keras's stores are no dictionaries)
            return  # written by hand, or by another version: Keras compares shapes
        self._of_a_pair = True
        self._build_optimizer()
        file = decode(store["pair"])
        if found := differences(describe(self), file):
            listed = "".join(f"\n- {line}" for line in found)
            raise ValueError(f"The file does not fit the pair '{self.name}':{listed}")
        self._of_weights_alone = file["motivation"] is None
        seeds = self._seeds()
        for variable, seed in zip(seeds, store["seeds"] if seeds else [], strict=True):
            variable.assign(seed.astype(keras.backend.standardize_dtype(variable.dtype)))

    def _build_optimizer(self: Any) -> None:
        if self.compiled and self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def _seeds(self: Any) -> list[Any]:
        return [v for model in self._nested for v in model.variables if _keras.is_seed(v)]


@contextlib.contextmanager
def _unchanged_by_errors(pair: Any) -> Iterator[None]:
    """Gives the pair its values back if an error comes up: Keras loads part by part, and reports at the end."""
    variables = _variables(pair)
    kept = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in zip(variables, kept):
            variable.assign(value)
        raise


def _loads(model: Any, filepath: Any) -> bool:
    """Whether a file of weights fits one model. Leaves it as it is."""
    parts = [model, *([model.optimizer] if getattr(model, "optimizer", None) is not None else [])]
    variables = [variable for part in parts for variable in part.variables]
    kept = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.load_weights(filepath)
    except Exception:
        return False
    else:
        return True
    finally:
        for variable, value in zip(variables, kept):
            variable.assign(value)


def _variables(pair: Any) -> list[Any]:
    """All that a file of the pair holds."""
    parts = [pair.weights_map.base, pair.weights_map.motivated, pair.trained_examples, pair.update_window]
    parts += [pair.motivation, *([pair.optimizer] if pair.compiled else [])]
    return [variable for part in parts if part is not None for variable in part.variables]


def _size(pair: Any) -> int:
    """Of a file of the pair, in bytes, with some room for what HDF5 needs for each variable."""
    sizes = ((v.shape, keras.backend.standardize_dtype(v.dtype)) for v in _variables(pair))
    return sum(4096 + math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in sizes)
