"""Multiply-adds of a model's forward pass, read off what the active backend runs, one file each.

Each has `forward_flops(model, inputs, **kwargs)`: 2 x multiply-adds of convolutions and matrix products in `call`.
Attention is counted as the matrix products that it consists of: fused kernels are switched off meanwhile.
"""

import keras

if keras.backend.backend() == "jax":
    from keras_motivation._backend.flops.jax import forward_flops
elif keras.backend.backend() == "tensorflow":
    from keras_motivation._backend.flops.tensorflow import forward_flops
else:
    from keras_motivation._backend.flops.torch import forward_flops

__all__ = ["forward_flops"]
