"""The training step of the active backend, one file for each. The common part is in `training/step.py`."""

import keras

if keras.backend.backend() == "jax":
    from keras_motivation.training.steps.jax import DISPATCHES, BackendStep
elif keras.backend.backend() == "tensorflow":
    from keras_motivation.training.steps.tensorflow import DISPATCHES, BackendStep  # type: ignore[assignment]
else:
    from keras_motivation.training.steps.torch import DISPATCHES, BackendStep  # type: ignore[assignment]

__all__ = ["DISPATCHES", "BackendStep"]
