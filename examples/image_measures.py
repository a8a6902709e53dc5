"""What is measured after a run of an image experiment, and the device and versions of the run."""

import importlib

import keras
import numpy as np

import keras_motivation as km


def accuracy(model: keras.Model, x: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> tuple[float, float]:
    """Test accuracy as trained, and with batch norm recalibrated on 4096 training images."""

    def measure() -> float:
        logits = model.predict(x_test, batch_size=500, verbose=0)
        return float((logits.argmax(-1) == y_test).mean())

    before = measure()
    km.recalibrate_batch_norm(model, [x[i : i + 512] for i in range(0, min(len(x), 4096), 512)])
    return before, measure()


def cost(pair: keras.Model, flops: list[int], arm: str) -> float:
    """Training FLOPs relative to training the motivated model alone."""
    if isinstance(pair, km.MotivatedModel):
        return pair.training_cost().relative_to_motivated
    return flops[0] / flops[1] if arm == "base" else 1.0


def device() -> str:
    """The device of the run."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return keras.distribution.list_devices()[0]


def versions() -> dict[str, str]:
    """Versions of the packages that affect a result."""
    names = ("keras", "keras_motivation", keras.backend.backend(), "numpy")
    return {name: importlib.import_module(name).__version__ for name in names}
