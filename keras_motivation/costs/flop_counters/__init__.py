"""Multiply-adds of a model's forward pass, counted in the operations of the active backend; one file for each backend.

Each file has `forward_flops(model, inputs, **kwargs)`: 2 x multiply-adds of convolutions and matrix products in `call`.
Attention is counted as its matrix products, because fused kernels are switched off during the count.
"""

import keras

if keras.backend.backend() == "jax":
    from keras_motivation.costs.flop_counters.jax import forward_flops
elif keras.backend.backend() == "tensorflow":
    from keras_motivation.costs.flop_counters.tensorflow import forward_flops
else:
    from keras_motivation.costs.flop_counters.torch import forward_flops

__all__ = ["forward_flops"]
