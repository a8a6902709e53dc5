"""PyTorch: the model runs once, and PyTorch's own counter counts."""

from math import prod
from typing import Any

import torch


def forward_flops(model: Any, inputs: Any, **kwargs: Any) -> int:
    """2 x multiply-adds of one forward pass. Keras runs the first step of `RNN(cell)` twice, so it is counted twice."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode  # not imported by `import torch`

    variables = [
        [v.value.detach() for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables)
    ]
    # The counter does not know fused attention on CPUs and cuDNN's recurrent layers, so these are switched off: it
    # counts their separate operations. Products with vectors must be added.
    more = {torch.ops.aten.mv: _of_vector, torch.ops.aten.dot: _of_vector}
    counter = FlopCounterMode(display=False, custom_mapping=more)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False), counter:
        model.stateless_call(*variables, inputs, **kwargs)
    return counter.get_total_flops()


def _of_vector(a_shape: Any, *args: Any, **kwargs: Any) -> int:
    return 2 * prod(a_shape)
