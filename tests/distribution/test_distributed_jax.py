"""`keras.distribution` under JAX: the run of one device, whatever is split over whichever devices and processes."""

import socket

import keras
import pytest
from distributed import assert_passed, checks, results, start
from helpers import compiled

BACKEND = keras.backend.backend()
DEVICES, PROCESSES = "distributed_jax_devices.py", "distributed_jax_processes.py"
only_jax = pytest.mark.skipif(
    BACKEND != "jax", reason="Keras distributes under JAX; elsewhere it is refused, see below"
)


@pytest.fixture(scope="module")
def on_devices():
    flag = "--xla_force_host_platform_device_count=8"
    return results(start(DEVICES, XLA_FLAGS=flag))


@only_jax
@pytest.mark.slow
@pytest.mark.parametrize("check", checks(DEVICES))
def test_on_eight_devices(on_devices, check):
    assert_passed(on_devices, check)


@pytest.fixture(scope="module")
def in_processes(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flag, folder = "--xla_force_host_platform_device_count=2", tmp_path_factory.mktemp("saved")
    return results(*(start(PROCESSES, address, folder, i, XLA_FLAGS=flag) for i in range(2)))


@only_jax
@pytest.mark.slow
@pytest.mark.parametrize("check", checks(PROCESSES))
def test_in_two_processes(in_processes, check):
    assert_passed(in_processes, check, processes=2)


def test_elsewhere_it_is_refused():
    """Keras would set it, take no notice, and train on one device."""
    distribution = keras.distribution.DataParallel(devices=["cpu:0"])
    with distribution.scope():
        if BACKEND == "jax":
            compiled()
        else:
            with pytest.raises(ValueError, match=r"works under JAX only.*tf\.distribute.*torch\.distributed.*Received"):
                compiled()
    compiled()
