"""Saves a pair: complete files, with everything that the next batch depends on."""

from typing import Any

import keras
import numpy as np

from keras_motivation.checkpoints.contents import build_optimizer, seeds_of, size_of
from keras_motivation.checkpoints.fingerprint import describe, encode
from keras_motivation.checkpoints.whole_files import is_local_file, may_write, whole_file
from keras_motivation.interface import Pair

NOT_HDF5 = (
    "Argument `filepath` must end in `.keras`: a pair cannot be loaded from Keras's older format, HDF5. "
    "(`save_weights` writes `.weights.h5`.) Received: filepath={}"
)


class Saving(Pair):
    """Part of `MotivatedModel`."""

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Like `keras.Model.save`. A `.keras` file is first written next to its final place and then moved there.

        If the process is killed, or the disk is full, the previous file stays complete. (Folders, `zipped=False`, and
        remote paths are written in Keras's own way.)

        Raises:
            ValueError: If `filepath` ends in `.h5` or `.hdf5`. A pair cannot be loaded from this older format.
        """
        if zipped is not False and str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(NOT_HDF5.format(repr(str(filepath))))
        if zipped is False or not is_local_file(filepath, ".keras"):
            super().save(filepath, overwrite=overwrite, zipped=zipped, **kwargs)
        elif may_write(filepath, overwrite):
            with whole_file(filepath, size_of(self)) as partial:
                super().save(partial, zipped=zipped, **kwargs)

    def save_weights(self, filepath: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Like `keras.Model.save_weights`. A file is first written next to its final place, as in `save`."""
        if max_shard_size is not None or not is_local_file(filepath, ".weights.h5"):
            super().save_weights(filepath, overwrite=overwrite, max_shard_size=max_shard_size)
        elif may_write(filepath, overwrite):
            with whole_file(filepath, size_of(self)) as partial:
                super().save_weights(partial)

    def save_own_variables(self, store: Any) -> None:
        """Writes what no layer writes: the random seeds, and the description of the pair. Keras calls this first.

        So this is the place to update the motivated model, which is written later, and to build the optimizer: the file
        of a compiled pair has the optimizer's state in every case.
        """
        self.sync()
        build_optimizer(self)
        store["pair"] = encode(describe(self))
        if seeds := seeds_of(self):
            store["seeds"] = np.stack([keras.ops.convert_to_numpy(v.value) for v in seeds]).astype("uint32")
