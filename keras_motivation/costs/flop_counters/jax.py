"""JAX: the model is traced, not run, and the operations of the trace are counted."""

from math import prod
from typing import Any

import jax

# `jax.image.resize` uses matrix products. Other backends have kernels for resizing, which are not counted.
NOT_COUNTED = ("_resize", "_scale_and_translate")


def forward_flops(model: Any, inputs: Any, **kwargs: Any) -> int:
    """2 x multiply-adds of one forward pass."""

    def forward(trainables: Any, others: Any, x: Any) -> Any:
        return model.stateless_call(trainables, others, x, **kwargs)[0]

    variables = [[v.value for v in kind] for kind in (model.trainable_variables, model.non_trainable_variables)]
    return 2 * _multiply_adds(jax.make_jaxpr(forward)(*variables, inputs).jaxpr)


def _multiply_adds(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        shapes = [getattr(v.aval, "shape", ()) for v in equation.invars]
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            total += prod(equation.outvars[0].aval.shape) * prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            total += _convolution(params, shapes[0], shapes[1], equation.outvars[0].aval.shape)
        elif name == "cond":
            total += max(_multiply_adds(branch.jaxpr) for branch in params["branches"])
        elif params.get("name") not in NOT_COUNTED:
            inner = sum(_multiply_adds(part) for value in params.values() for part in _jaxprs(value))
            if inner and name == "while":
                raise ValueError("FLOPs cannot be counted in a loop whose length is not known before it runs.")
            total += inner * params.get("length", 1)
    return total


def _convolution(params: Any, inputs: Any, kernel: Any, outputs: Any) -> int:
    _, kernel_axes, _ = params["dimension_numbers"]
    sizes = [kernel[axis] for axis in kernel_axes[2:]]
    reach = [(size - 1) * dilation for size, dilation in zip(sizes, params["rhs_dilation"])]
    padded = any(before + after > extent for (before, after), extent in zip(params["padding"], reach))
    if max(params["lhs_dilation"]) > 1 or padded:  # transposed: each input entry is multiplied with the whole kernel
        return prod(inputs) * prod(kernel) // kernel[kernel_axes[1]]
    return prod(outputs) * prod(kernel) // kernel[kernel_axes[0]]


def _jaxprs(value: Any) -> list[Any]:
    """The traces inside a parameter of an operation: of a jitted function, or of a loop's body."""
    if isinstance(value, (tuple, list)):
        return [jaxpr for part in value for jaxpr in _jaxprs(part)]
    value = getattr(value, "jaxpr", value)
    return [value] if hasattr(value, "eqns") else []
