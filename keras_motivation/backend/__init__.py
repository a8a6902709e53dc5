"""Operations on tensors and variables that need the active backend, one file for each backend."""

import keras

if keras.backend.backend() == "jax":
    from keras_motivation.backend.jax import (
        compiled,
        fused,
        generators,
        gradients,
        holding,
        is_as_marked,
        mark,
        placed,
        readable,
        repeated,
        unshared,
        untraced,
        writer,
    )
elif keras.backend.backend() == "tensorflow":
    from keras_motivation.backend.tensorflow import (
        compiled,
        fused,
        generators,
        gradients,
        holding,
        is_as_marked,
        mark,
        placed,
        readable,
        repeated,
        unshared,
        untraced,
        writer,
    )
elif keras.backend.backend() == "torch":
    from keras_motivation.backend.torch import (
        compiled,
        fused,
        generators,
        gradients,
        holding,
        is_as_marked,
        mark,
        placed,
        readable,
        repeated,
        unshared,
        untraced,
        writer,
    )
else:
    raise ImportError(
        "keras_motivation runs on the Keras backends 'tensorflow', 'jax' and 'torch'. "
        f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
    )

__all__ = [
    "compiled",
    "fused",
    "generators",
    "gradients",
    "holding",
    "is_as_marked",
    "mark",
    "placed",
    "readable",
    "repeated",
    "unshared",
    "untraced",
    "writer",
]
