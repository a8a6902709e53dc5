"""Under PyTorch: the model runs once, under PyTorch's own counter."""

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(model: Any, inputs: Any, **kwargs: Any) -> int:
    """2 x multiply-adds of one forward pass. Keras runs the first step of `RNN(cell)` twice here, and so it counts."""
    variables = [
        [v.value.detach() for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables)
    ]
    # The counter does not know the fused attention of CPUs; taken apart, it does.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.stateless_call(*variables, inputs, **kwargs)
    return counter.get_total_flops()
