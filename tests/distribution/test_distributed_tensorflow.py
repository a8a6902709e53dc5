"""Several replicas under TensorFlow train as one device does on the same global batches."""

import functools
import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from distributed import ended

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.distribute is TensorFlow's"),
]
SCRIPT = pathlib.Path(__file__).parents[1] / "replicas_tensorflow.py"


def start(*arguments):
    path = os.pathsep.join([str(SCRIPT.parent), str(SCRIPT.parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report(process):
    out, err = ended(process)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@functools.cache
def on_one_device(folder):
    return report(start("one", folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def replicas(folder):
    return report(start("mirrored", folder))


def assert_alike(found, expected):
    assert len(set(expected["motivated"])) > 1
    assert found["motivated"] == expected["motivated"]
    assert found["examples"] == expected["examples"]
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-4)
    assert found["logs"].keys() == expected["logs"].keys()
    for name, values in expected["logs"].items():
        np.testing.assert_allclose(found["logs"][name], values, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("part", [None, "joint", "late", "family"])
def test_mirrored_replicas_are_one_device(replicas, folder, part):
    expected = on_one_device(folder)
    assert_alike(replicas[part] if part else replicas, expected[part] if part else expected)


def test_weights_and_file_of_mirrored_replicas(replicas, folder):
    for name in ("weights", "saved"):
        for found, expected in zip(replicas[name], on_one_device(folder)["weights"], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_loss_scaling_with_replicas(replicas):
    assert np.isfinite(replicas["mixed_float16"]["losses"]).all()
    assert len(set(replicas["mixed_float16"]["motivated"])) == 2


def test_gradients_cannot_be_accumulated_over_replicas(replicas):
    assert "Received: gradient_accumulation_steps=2, 2 replicas" in replicas["accumulating"]


def test_a_mean_that_keras_does_not_divide_is_refused(replicas):
    assert "several replicas, only objects of `keras.losses`" in replicas["unscaled"]


def test_the_mean_is_over_examples_not_replicas(replicas):
    """The last batch has one example, so that one replica has none."""
    epoch, (first, last) = replicas["uneven"]
    np.testing.assert_allclose((8 * first + last) / 9, epoch, rtol=1e-5)


def test_replicas_agree_with_batch_norm(replicas):
    """Each replica normalises its own part of the batch, so the run is not that of one device; weights stay in step."""
    for parts in replicas["norm"]:
        assert len(parts) == 2
        np.testing.assert_array_equal(parts[0], parts[1])


def free_ports():
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def test_two_workers_are_one_device(folder):
    """By `strategy.run(model.train_step)`; Keras's `fit` does not run with several workers, and the pair says so."""
    ports = free_ports()
    workers = [start(f"worker-{rank}", *ports) for rank in range(2)]
    found, expected = [report(worker) for worker in workers], on_one_device(folder)
    for each in found:
        assert "Received: CollectiveAllReduceStrategy with 2 workers" in each["refused"]
        assert each["examples"] == expected["examples"]
        for epoch, logs in enumerate(each["logs"]):
            for name, value in logs.items():
                np.testing.assert_allclose(value, expected["logs"][name][epoch], rtol=1e-4, err_msg=name)
        for ours, theirs in zip(each["weights"], expected["weights"], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("recomputed", "recompute their result: .*body"),
        ("compiled", "body.*holds a tf.function"),
        ("projected", "that a forward pass writes: .*body"),
        ("stateful", "rnn.*is stateful"),
    ],
)
def test_what_does_more_than_read_its_weights_is_refused(replicas, kind, reason):
    message, unchanged = replicas["refused"][kind]
    assert "must read their weights as tensors" in message
    assert re.search(reason, message), message
    assert unchanged
