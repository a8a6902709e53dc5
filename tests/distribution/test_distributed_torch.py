"""Replicas under PyTorch, by the recipe in `examples/distributed_pytorch.py`: the run of one process."""

import keras
import numpy as np
import pytest
from distributed import assert_passed, checks, ended, results, start
from helpers import Alternate, compiled, fit, numpy

import keras_motivation as km

BACKEND = keras.backend.backend()
PROCESSES = "distributed_torch_processes.py"
only_torch = pytest.mark.skipif(
    BACKEND != "torch", reason="a recipe for PyTorch; other backends have means of their own"
)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def in_processes():
    return results(start(PROCESSES, launcher=TORCHRUN))


@only_torch
@pytest.mark.slow
@pytest.mark.parametrize("check", checks(PROCESSES))
def test_in_two_processes(in_processes, check):
    assert_passed(in_processes, check, processes=2)


@only_torch
@pytest.mark.slow
def test_the_example(tmp_path):
    pytest.importorskip("sklearn")  # its data
    process = start("../examples/distributed_pytorch.py", "--epochs", 1, "--output", tmp_path, launcher=TORCHRUN)
    said, errors = ended(process)
    assert process.returncode == 0, errors[-4000:]
    assert "Processes: 2." in said
    for name in ("base", "motivated"):
        assert keras.models.load_model(tmp_path / f"{name}.keras").output_shape == (None, 10)


@only_torch
def test_the_step_asks_for_the_mean_once_a_batch():
    """With the gradients of what the batch updates, and the loss; what is written there is what counts."""
    counts = []

    class Zeroed(km.MotivatedModel):
        def mean_over_replicas(self, tensors):
            counts.append(len(tensors))
            for tensor in tensors:
                tensor.zero_()

    model = compiled(Alternate(), cls=Zeroed)
    before = [numpy(v) for v in model.weights if v.trainable]
    history = fit(model).history
    updates = [sum(map(len, model.trained_variables(level))) for level in (0, 1)]
    assert counts == [updates[batch % 2] + 1 for batch in range(8)]
    assert history["loss"] == [0.0]
    for value, v in zip(before, [v for v in model.weights if v.trainable]):
        np.testing.assert_array_equal(numpy(v), value)
