"""A disk that fills up while a pair is saved: the error says so, the former file stays whole, nothing is left over."""

import contextlib
import os

import keras
import numpy as np
import pytest
from helpers import compiled, fit, numpy, values

resource = pytest.importorskip("resource", reason="limits on the size of files are POSIX's")


@contextlib.contextmanager
def files_of_at_most(size):
    """Writing beyond `size` bytes of any file fails with an `OSError`, as on a full disk."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


@pytest.mark.parametrize("written", [0.0, 0.4, 0.98])
def test_a_full_disk(written, tmp_path):
    """After no byte, in the middle, and just before the end of the file."""
    model = compiled()
    fit(model)
    path = tmp_path / "pair.keras"
    model.save(path)
    former, saved = path.read_bytes(), [numpy(v) for v in [*model.variables, *model.optimizer.variables]]
    fit(model)
    newer = values(model.motivated)
    with files_of_at_most(int(written * len(former))), pytest.raises(OSError, match=r"[Tt]oo large|[Nn]o space|write"):
        model.save(path)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == former
    loaded = keras.models.load_model(path)
    for variable, value in zip([*loaded.variables, *loaded.optimizer.variables], saved, strict=True):
        np.testing.assert_array_equal(numpy(variable), value, err_msg=variable.path)
    for actual, expected in zip(values(model.motivated), newer):  # the pair in memory is as it was
        np.testing.assert_array_equal(actual, expected)
    model.save(path)
    assert path.read_bytes() != former
    fit(model)
