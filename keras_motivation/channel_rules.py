"""How each known layer and operation moves channels: which axes of its weights and tensors hold the same ones.

A rule links what it knows; the caller closes the rest. Rules stand for exact types, since a subclass may compute
something else, and find weights by name, so that a weight they do not know (of LoRA, say) stays closed.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_motivation import _keras
from keras_motivation.matching import own_variables


@dataclass(frozen=True)
class Call:
    """One call of a layer or operation in a functional graph.

    Attributes:
        operation: The layer or Keras operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        inputs: The symbolic tensors among the arguments.
        outputs: The symbolic results.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Any]
    outputs: list[Any]

    @property
    def described(self) -> str:
        """The layer in words, for errors."""
        kind = "layer" if isinstance(self.operation, keras.Layer) else "operation"
        return f"{kind} '{self.operation.name}' ({type(self.operation).__name__})"


Rule = Callable[[Call, Any], None]


def find_rule(operation: Any) -> Rule | None:
    """The rule for a layer or operation, or None if it is unknown."""
    return LAYER_RULES.get(type(operation)) or OPERATION_RULES.get(_keras.operation_kind(operation) or "")


def is_per_channel(activation: Any) -> bool:
    """Whether an activation treats all channels alike: another order of the inputs is that order of the results."""
    if isinstance(activation, keras.Layer):
        return type(activation) in PER_ELEMENT and is_per_channel(getattr(activation, "activation", None))
    if activation is None:
        return True
    name = getattr(activation, "__name__", "")
    ours = getattr(activation, "__module__", "").startswith("keras.src.")
    return ours and hasattr(keras.activations, name) and name != "glu"  # glu multiplies one half by the other


def per_element(call: Call, channels: Any) -> None:
    """Every input has the axes of the output, or is broadcast to them from the right, as in numpy."""
    for tensor in call.inputs:
        _broadcast(tensor, call.outputs[0], channels)


def merge(call: Call, channels: Any) -> None:
    """Keras's merging layers broadcast otherwise where the ranks differ; such a call stays closed."""
    if len({len(tensor.shape) for tensor in call.inputs}) == 1:
        per_element(call, channels)


def arithmetic(call: Call, channels: Any) -> None:
    """A constant that is no scalar has an own value for each channel, in an order that no weights map sees."""
    constants = [a for a in (*call.args, *call.kwargs.values()) if not isinstance(a, keras.KerasTensor)]
    if all(a is None or isinstance(a, str) or np.shape(a) == () for a in constants):
        per_element(call, channels)


def rescaling(call: Call, channels: Any) -> None:
    if np.ndim(call.operation.scale) == np.ndim(call.operation.offset) == 0:
        per_element(call, channels)


def spatial(call: Call, channels: Any) -> None:
    """Pooling, padding and their kin keep the channel axis and change the others."""
    channels.link((call.outputs[0], _channel_axis(call)), (call.inputs[0], _channel_axis(call)))


def reduction(call: Call, channels: Any) -> None:
    """A sum or mean keeps the axes that it does not run over."""
    (tensor,), (output,) = call.inputs, call.outputs
    rank = len(tensor.shape)
    axis = range(rank) if call.operation.axis is None else np.atleast_1d(call.operation.axis)
    kept = [a for a in range(rank) if a not in {int(b) % rank for b in axis}]
    for position, a in enumerate(kept):
        channels.link((output, a if call.operation.keepdims else position), (tensor, a))


def reshape(call: Call, channels: Any) -> None:
    """In row-major order trailing axes of equal length are the same axes, whatever happens to those before them."""
    (tensor,), (output,) = call.inputs, call.outputs
    before, after = ([a for a, n in enumerate(t.shape) if n != 1] for t in (tensor, output))
    for a, b in zip(reversed(before), reversed(after)):
        if tensor.shape[a] is None or tensor.shape[a] != output.shape[b]:
            return
        channels.link((output, b), (tensor, a))


def permute(call: Call, channels: Any) -> None:
    for axis, source in enumerate(call.operation.dims, start=1):
        channels.link((call.outputs[0], axis), (call.inputs[0], source))


def concatenate(call: Call, channels: Any) -> None:
    """All axes but the one along which the tensors are joined."""
    (output,) = call.outputs
    for axis in set(range(len(output.shape))) - {call.operation.axis % len(output.shape)}:
        channels.link((output, axis), *[(tensor, axis) for tensor in call.inputs])


def normalization(call: Call, channels: Any) -> None:
    """Weights with one entry for each position on `axis`."""
    _broadcast(call.inputs[0], call.outputs[0], channels)  # a mask may be the second input
    axes = [int(axis) for axis in np.atleast_1d(call.operation.axis)]
    for variable in own_variables(call.operation):
        for position, axis in enumerate(axes):
            channels.link((call.inputs[0], axis), (variable, position))


def group_normalization(call: Call, channels: Any) -> None:
    """One group of all channels, or each channel for itself; in between, neighbours belong together."""
    if call.operation.groups in (1, call.inputs[0].shape[call.operation.axis]):
        normalization(call, channels)


def prelu(call: Call, channels: Any) -> None:
    per_element(call, channels)
    (alpha,) = own_variables(call.operation)
    for axis in range(1, len(call.inputs[0].shape)):
        if axis not in (call.operation.shared_axes or ()):
            channels.link((call.inputs[0], axis), (alpha, axis - 1))


def dense(call: Call, channels: Any) -> None:
    weights, (tensor,), (output,) = _weights(call.operation), call.inputs, call.outputs
    for axis in range(len(tensor.shape) - 1):
        channels.link((output, axis), (tensor, axis))
    channels.link((tensor, -1), (weights["kernel"], 0))
    channels.produce(weights["kernel"], 1, (output, -1), *_bias(weights))


def embedding(call: Call, channels: Any) -> None:
    (tensor,), (output,) = call.inputs, call.outputs
    for axis in range(len(tensor.shape)):
        channels.link((output, axis), (tensor, axis))
    channels.produce(_weights(call.operation)["embeddings"], 1, (output, -1))


def convolution(call: Call, channels: Any) -> None:
    """A kernel of shape (..., in, out); one in groups holds each group's inputs only."""
    if call.operation.groups == 1:
        _convolve(call, channels, taken=-2, made=-1)


def transposed_convolution(call: Call, channels: Any) -> None:
    """A kernel of shape (..., out, in)."""
    _convolve(call, channels, taken=-1, made=-2)


def depthwise_convolution(call: Call, channels: Any) -> None:
    """A kernel of shape (..., channels, multiplier); a multiplier above 1 puts several results side by side."""
    weights, axis = _weights(call.operation), _channel_axis(call)
    if call.operation.depth_multiplier == 1:
        channels.link((call.inputs[0], axis), (call.outputs[0], axis), (weights["kernel"], -2), *_bias(weights))


def separable_convolution(call: Call, channels: Any) -> None:
    """A depthwise kernel (..., in, multiplier), then a pointwise one (..., in * multiplier, out)."""
    weights, axis = _weights(call.operation), _channel_axis(call)
    if call.operation.depth_multiplier == 1:
        depthwise, pointwise = weights["depthwise_kernel"], weights["pointwise_kernel"]
        channels.link((call.inputs[0], axis), (depthwise, -2), (pointwise, -2))
        channels.produce(pointwise, -1, (call.outputs[0], axis), *_bias(weights))


def einsum_dense(call: Call, channels: Any) -> None:
    """Equal letters of the equation are the same axis; the bias stands at the right end of the output."""
    (tensor,), (output,) = call.inputs, call.outputs
    weights, layer = _weights(call.operation), call.operation
    terms = layer.equation.replace(" ", "").replace("->", ",").split(",")
    given, kernel, made = (_letters(term, len(tensor.shape), terms[0]) for term in terms)
    bias = weights.get("bias")
    offset = len(made) - len(bias.shape) if bias is not None else 0
    for letter in dict.fromkeys([*given, *kernel, *made]):
        axes = [(tensor, a) for a, other in enumerate(given) if other == letter]
        axes += [(output, a) for a, other in enumerate(made) if other == letter]
        if bias is not None and letter in layer.bias_axes:
            axes += [(bias, made.index(letter) - offset)]
        own = [a for a, other in enumerate(kernel) if other == letter]
        if own and letter in made and letter not in given:
            channels.produce(weights["kernel"], own[0], *axes)
        elif len(axes) + len(own) > 1:
            channels.link(*axes, *[(weights["kernel"], a) for a in own])


def multi_head_attention(call: Call, channels: Any) -> None:
    """Heads are channels of their own, made by the projections and taken by the output kernel; so are values' entries.

    The head size stays closed, for the scores are divided by its root.
    """
    layer, (output, *others) = call.operation, call.outputs
    arguments = inspect.signature(layer.call).bind(*call.args, **call.kwargs).arguments
    query, value = arguments["query"], arguments["value"]
    key = value if arguments.get("key") is None else arguments["key"]
    projections = [layer.query_dense, layer.key_dense, layer.value_dense]
    q, k, v, out = (_weights(dense) for dense in (*projections, layer.output_dense))
    if others or len(out["kernel"].shape) != 3:
        return
    for tensor, weights in zip((query, key, value), (q, k, v)):
        channels.link((tensor, -1), (weights["kernel"], 0))
        channels.produce(weights["kernel"], 1, (out["kernel"], 0), *_bias(weights, 0))
    channels.produce(v["kernel"], 2, (out["kernel"], 1), *_bias(v, 1))
    channels.produce(out["kernel"], 2, (output, -1), *_bias(out))
    for axis in range(len(query.shape) - 1):
        channels.link((output, axis), (query, axis))


def _broadcast(tensor: Any, output: Any, channels: Any) -> None:
    for axis in range(-len(tensor.shape), 0):
        if tensor.shape[axis] != 1 or output.shape[axis] == 1:
            channels.link((output, axis), (tensor, axis))


def _convolve(call: Call, channels: Any, taken: int, made: int) -> None:
    weights, axis = _weights(call.operation), _channel_axis(call)
    channels.link((call.inputs[0], axis), (weights["kernel"], taken))
    channels.produce(weights["kernel"], made, (call.outputs[0], axis), *_bias(weights))


def _channel_axis(call: Call) -> int:
    return 1 if getattr(call.operation, "data_format", None) == "channels_first" else -1


def _weights(layer: Any) -> dict[str, Any]:
    return {variable.name: variable for variable in own_variables(layer)}


def _bias(weights: dict[str, Any], axis: int = -1) -> list[tuple[Any, int]]:
    return [(weights["bias"], axis)] if "bias" in weights else []


def _letters(term: str, rank: int, first: str) -> list[str]:
    """The axes of one term of an equation; those behind an ellipsis are numbered."""
    elided = [str(i) for i in range(rank - len(first.replace(".", "")))]
    before, dots, after = term.partition("...")
    return [*before, *(elided if dots else []), *after]


def _table(rule: Rule, names: str) -> dict[type, Rule]:
    return {getattr(layers, name): rule for name in names.split()}


_POOLS = "{0}Pooling1D {0}Pooling2D {0}Pooling3D Global{0}Pooling1D Global{0}Pooling2D Global{0}Pooling3D "
PER_ELEMENT = _table(
    per_element,
    "Activation ReLU LeakyReLU ELU Softmax Identity UnitNormalization ActivityRegularization Dropout SpatialDropout1D "
    "SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout",
)
LAYER_RULES = (
    PER_ELEMENT
    | _table(merge, "Add Subtract Average Maximum Minimum Multiply")
    | _table(rescaling, "Rescaling")
    | _table(
        spatial,
        _POOLS.format("Average") + _POOLS.format("Max") + "ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D "
        "Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D Resizing RepeatVector AdaptiveAveragePooling1D "
        "AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D "
        "AdaptiveMaxPooling3D",
    )
    | _table(reshape, "Reshape Flatten")
    | _table(permute, "Permute")
    | _table(concatenate, "Concatenate")
    | _table(normalization, "BatchNormalization LayerNormalization RMSNormalization")
    | _table(group_normalization, "GroupNormalization")
    | _table(prelu, "PReLU")
    | _table(dense, "Dense")
    | _table(embedding, "Embedding")
    | _table(convolution, "Conv1D Conv2D Conv3D")
    | _table(transposed_convolution, "Conv1DTranspose Conv2DTranspose Conv3DTranspose")
    | _table(depthwise_convolution, "DepthwiseConv1D DepthwiseConv2D")
    | _table(separable_convolution, "SeparableConv1D SeparableConv2D")
    | _table(einsum_dense, "EinsumDense")
    | _table(multi_head_attention, "MultiHeadAttention")
)
_UNARY = (
    "Absolute Abs Cast Celu Elu Exp Gelu HardSigmoid HardSilu HardTanh LeakyRelu Log LogSigmoid LogSoftmax Negative "
    "Relu Relu6 Rsqrt Selu Sigmoid Silu Softmax Softplus Softsign Sqrt Square StopGradient Tanh"
)
OPERATION_RULES = {
    **dict.fromkeys(["Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power"], arithmetic),
    **dict.fromkeys(["Mean", "Sum", "Max", "Min"], reduction),
    **dict.fromkeys(["Reshape", "ExpandDims", "Squeeze"], reshape),
    **dict.fromkeys(_UNARY.split(), per_element),
}
