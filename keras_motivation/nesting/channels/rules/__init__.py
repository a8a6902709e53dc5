"""How each known layer and operation relates the channels of its weights, inputs and outputs.

A rule relates the axes that it knows; the graph closes the others. Rules are for exact types, because a subclass may
compute something different. They find weights by name, so a weight that they do not know (for example of LoRA) stays
closed.
"""

from typing import Any

import keras
from keras import layers

from keras_motivation import _keras
from keras_motivation.nesting.channels.rules import attention, elementwise, kernels, recurrent, shapes
from keras_motivation.nesting.channels.rules.call import Call, Rule, WeightsRule, described

__all__ = ["Call", "described", "find_rule", "is_per_channel", "rule_of_weights"]


def find_rule(operation: Any) -> Rule | None:
    """The rule for calls of a layer or operation, or None if it is unknown."""
    return LAYER_RULES.get(type(operation)) or OPERATION_RULES.get(_keras.operation_kind(operation) or "")


def rule_of_weights(layer: Any) -> WeightsRule | None:
    """The rule for the weights of a layer alone, for layers inside models without a graph."""
    if type(layer) in recurrent.GATES:
        return recurrent.cell_weights
    if isinstance(layer, GROUPED) and type(layer) in LAYER_RULES and layer.groups > 1:
        return kernels.grouped_weights
    if type(layer) in (layers.SeparableConv1D, layers.SeparableConv2D):
        return kernels.separable_weights
    if "qkv" in layer.name and type(layer) is layers.Dense:
        return attention.fused_projection_weights
    return None


def is_per_channel(activation: Any) -> bool:
    """Whether an activation treats all channels in the same way, so that their order does not matter to it."""
    if isinstance(activation, keras.Layer):
        return type(activation) in PER_ELEMENT and is_per_channel(getattr(activation, "activation", None))
    if activation is None:
        return True
    name = getattr(activation, "__name__", "")
    ours = getattr(activation, "__module__", "").startswith("keras.src.")
    return ours and hasattr(keras.activations, name) and name != "glu"  # glu multiplies one half with the other


def _table(rule: Rule, names: str) -> dict[type, Rule]:
    return {getattr(layers, name): rule for name in names.split()}


GROUPED = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_POOLS = "{0}Pooling1D {0}Pooling2D {0}Pooling3D Global{0}Pooling1D Global{0}Pooling2D Global{0}Pooling3D "
PER_ELEMENT = _table(
    elementwise.per_element,
    "Activation ReLU LeakyReLU ELU Softmax Identity UnitNormalization ActivityRegularization Dropout SpatialDropout1D "
    "SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout",
)
LAYER_RULES = (
    PER_ELEMENT
    | _table(elementwise.merge, "Add Subtract Average Maximum Minimum Multiply")
    | _table(elementwise.rescaling, "Rescaling")
    | _table(
        elementwise.spatial,
        _POOLS.format("Average") + _POOLS.format("Max") + "ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D "
        "Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D Resizing RepeatVector AdaptiveAveragePooling1D "
        "AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D "
        "AdaptiveMaxPooling3D",
    )
    | _table(shapes.reshape, "Reshape Flatten")
    | _table(shapes.permute, "Permute")
    | _table(shapes.concatenate, "Concatenate")
    | _table(elementwise.normalization, "BatchNormalization LayerNormalization RMSNormalization")
    | _table(elementwise.group_normalization, "GroupNormalization")
    | _table(elementwise.prelu, "PReLU")
    | _table(kernels.dense, "Dense")
    | _table(kernels.embedding, "Embedding")
    | _table(kernels.convolution, "Conv1D Conv2D Conv3D")
    | _table(kernels.transposed_convolution, "Conv1DTranspose Conv2DTranspose Conv3DTranspose")
    | _table(kernels.depthwise_convolution, "DepthwiseConv1D DepthwiseConv2D")
    | _table(kernels.separable_convolution, "SeparableConv1D SeparableConv2D")
    | _table(kernels.einsum_dense, "EinsumDense")
    | _table(attention.multi_head_attention, "MultiHeadAttention GroupQueryAttention")
    | _table(recurrent.recurrent, "SimpleRNN LSTM GRU ConvLSTM1D ConvLSTM2D ConvLSTM3D")
    | _table(recurrent.generic_rnn, "RNN")
    | _table(recurrent.bidirectional, "Bidirectional")
    | _table(recurrent.time_distributed, "TimeDistributed")
)
_UNARY = (
    "Absolute Abs Cast Celu Elu Exp Gelu HardSigmoid HardSilu HardTanh LeakyRelu Log LogSigmoid LogSoftmax Negative "
    "Relu Relu6 Rsqrt Selu Sigmoid Silu Softmax Softplus Softsign Sqrt Square StopGradient Tanh"
)
OPERATION_RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ["Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power"], elementwise.arithmetic
    ),
    **dict.fromkeys(["Mean", "Sum", "Max", "Min"], elementwise.reduction),
    **dict.fromkeys(["Reshape", "ExpandDims", "Squeeze"], shapes.reshape),
    **dict.fromkeys(["Transpose", "Swapaxes", "Moveaxis"], shapes.transpose),
    **dict.fromkeys(_UNARY.split(), elementwise.per_element),
    "Concatenate": shapes.concatenate,
    "Stack": shapes.stack,
    "Split": shapes.split_in_parts,
    "GetItem": shapes.get_item,
    "Einsum": kernels.einsum,
    "Matmul": kernels.matmul,
}
