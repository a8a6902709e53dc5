"""The training step and gradients on the active backend, one file each. What does not differ is in `step.py`."""

import keras

if keras.backend.backend() == "jax":
    from keras_motivation._backend.jax import (
        DISPATCHES,
        BackendStep,
        compiled,
        fused,
        generators,
        gradients,
        holding,
        placed,
        untraced,
        writer,
    )
elif keras.backend.backend() == "tensorflow":
    from keras_motivation._backend.tensorflow import (  # type: ignore[assignment]
        DISPATCHES,
        BackendStep,
        compiled,
        fused,
        generators,
        gradients,
        holding,
        placed,
        untraced,
        writer,
    )
elif keras.backend.backend() == "torch":
    from keras_motivation._backend.torch import (  # type: ignore[assignment]
        DISPATCHES,
        BackendStep,
        compiled,
        fused,
        generators,
        gradients,
        holding,
        placed,
        untraced,
        writer,
    )
else:
    raise ImportError(
        "keras_motivation runs on the Keras backends 'tensorflow', 'jax' and 'torch'. "
        f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
    )

__all__ = [
    "DISPATCHES",
    "BackendStep",
    "compiled",
    "fused",
    "generators",
    "gradients",
    "holding",
    "placed",
    "untraced",
    "writer",
]
