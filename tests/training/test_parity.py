"""The backends agree: same initial weights, data and seeds give the same losses and the same motivated batches."""

import pathlib

import keras
import numpy as np
import pytest
from helpers import Recorder, crossentropy, images, numpy, pair_of
from processes import another_backend, run

import keras_motivation as km


def course(kind, optimizer):
    """Trains a pair for 24 batches; returns the losses, the motivated flags and the motivated model's weights."""
    x, y = images(12)
    model, record = km.MotivatedModel(*pair_of(kind)), Recorder()
    make = {"sgd": lambda: keras.optimizers.SGD(0.02, momentum=0.9), "adamw": lambda: keras.optimizers.AdamW(0.003)}
    model.compile(make[optimizer](), crossentropy(), motivation=km.LossStreak(1))
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[record])
    return record.losses, record.motivated, [numpy(v) for v in model.motivated.weights]


COURSE = """
import sys, numpy as np
from test_parity import course
losses, motivated, weights = course(*sys.argv[2:])
np.savez(sys.argv[1], losses=losses, motivated=motivated, **{f"w{i}": w for i, w in enumerate(weights)})
"""


@pytest.mark.skipif(another_backend() is None, reason="only one backend is installed")
@pytest.mark.parametrize(("kind", "optimizer"), [("both", "sgd"), ("depth", "adamw")])
def test_agrees_with_another_backend(tmp_path, kind, optimizer):
    """Each backend's run of the suite compares with the next, in a ring: so all three agree."""
    losses, motivated, weights = course(kind, optimizer)
    assert any(motivated)
    assert not all(motivated)
    run(
        COURSE,
        tmp_path / "out.npz",
        kind,
        optimizer,
        backend=another_backend(),
        folders=[pathlib.Path(__file__).parent],
    )
    with np.load(tmp_path / "out.npz") as out:
        assert out["motivated"].tolist() == motivated
        np.testing.assert_allclose(out["losses"], losses, rtol=1e-3)
        for i, weight in enumerate(weights):
            np.testing.assert_allclose(out[f"w{i}"], weight, rtol=1e-2, atol=2e-3)
