"""Loads a pair from a file that fits it: everything or nothing."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_motivation.checkpoints.contents import build_optimizer, contents, seeds_of
from keras_motivation.checkpoints.fingerprint import decode, describe, differences
from keras_motivation.interface import Pair

# Warnings of Keras's optimizers and of our conditions. They keep their state if the file has none that fits.
SKIPPED = r"Skipping variable loading for optimizer|The file holds no memory of the motivation condition"

OF_THE_BASE = (
    "of the base alone, not of a pair. Load it with `pair.base.load_weights(...)`; the motivated model takes the "
    "shared weights from there."
)
OF_THE_MOTIVATED = (
    'of the motivated model alone, not of a pair. Load it before you make the pair, with `initialize="motivated"`; or '
    "with `pair.motivated.load_weights(...)`, and then copy the base's part with `pair.weights_map.copy_to_base()`."
)


class Loading(Pair):
    """Part of `MotivatedModel`: a file that does not fit is refused, and the pair does not change."""

    _of_weights_alone = _of_a_pair = False  # what `load_own_variables` has seen of the file

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Like `keras.Model.load_weights`, but loads everything or nothing: after an error, the pair is unchanged.

        If the pair in the file was not compiled, the optimizer's state and the condition's memory stay as they are, and
        there is a warning. To continue the training of a compiled pair, compile before you load its weights.

        Raises:
            ValueError: If the file does not fit. The error says what differs: variables, the weights map, the
                optimizer, the condition. (Keras would warn and continue without the optimizer's state.) With
                `skip_mismatch=True`, the parts that fit are loaded, as in Keras.
        """
        if skip_mismatch:
            super().load_weights(filepath, skip_mismatch=True, **kwargs)
            self._lost_writes.forget()
            return
        self.attach_state()
        build_optimizer(self)
        self._of_weights_alone = self._of_a_pair = False
        window = [keras.ops.copy(variable.value) for variable in self.update_window.variables]
        with self._explained(filepath), _unchanged_by_errors(self), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            super().load_weights(filepath, **kwargs)
            skipped = [str(warning.message) for warning in caught if re.match(SKIPPED, str(warning.message))]
            if skipped and not self._of_weights_alone:
                raise ValueError(f"The file '{filepath}' does not fit the pair '{self.name}'. {' '.join(skipped)}")
        if self._of_weights_alone:  # the accumulated gradients stay, and so does their count
            for variable, value in zip(self.update_window.variables, window):
                variable.assign(value)
        for warning in caught:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    @contextlib.contextmanager
    def _explained(self, filepath: Any) -> Iterator[None]:
        """Turns an error into a clearer one if the file is of only one of the two models: it says where to load it."""
        try:
            yield
        except Exception as error:
            if self._of_a_pair or not os.path.exists(filepath):
                raise
            self._lost_writes.forget()
            fits = [_loads(model, filepath) for model in self._nested]
            if any(fits):
                raise ValueError(f"The file '{filepath}' is {OF_THE_BASE if fits[0] else OF_THE_MOTIVATED}") from error
            raise

    def load_own_variables(self, store: Any) -> None:
        """Reads the seeds, and refuses a file that does not fit.

        Raises:
            ValueError: If the file does not fit.
        """
        if "pair" not in store.keys():  # noqa: SIM118 (Keras's stores are not dictionaries)
            return  # written by hand or by another version; Keras compares the shapes
        self._of_a_pair = True
        build_optimizer(self)
        file = decode(store["pair"])
        if found := differences(describe(self), file):
            listed = "".join(f"\n- {line}" for line in found)
            raise ValueError(f"The file does not fit the pair '{self.name}':{listed}")
        self._of_weights_alone = file["motivation"] is None
        seeds = seeds_of(self)
        for variable, seed in zip(seeds, store["seeds"] if seeds else [], strict=True):
            variable.assign(seed.astype(keras.backend.standardize_dtype(variable.dtype)))


@contextlib.contextmanager
def _unchanged_by_errors(pair: Pair) -> Iterator[None]:
    """Restores the pair's values after an error, because Keras loads part by part and raises the error at the end."""
    variables = contents(pair)
    kept = [np.array(keras.ops.convert_to_numpy(keras.ops.copy(variable.value))) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in zip(variables, kept):
            variable.assign(value)
        raise


def _loads(model: Any, filepath: Any) -> bool:
    """Whether a file of weights fits one model. The model does not change."""
    parts = [model, *([model.optimizer] if getattr(model, "optimizer", None) is not None else [])]
    variables = [variable for part in parts for variable in part.variables]
    kept = [np.array(keras.ops.convert_to_numpy(keras.ops.copy(variable.value))) for variable in variables]
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
