"""Layers that produce channels from others with a kernel: dense, convolutions, embeddings, einsum."""

from typing import Any

from keras_motivation.nesting.channels.layouts import Layout, fused
from keras_motivation.nesting.channels.rules.call import Call, bias_of, channel_axis, weights_of


def dense(call: Call, graph: Any) -> None:
    """A kernel (in, out)."""
    weights, (tensor,), (output,) = weights_of(call.operation), call.inputs, call.outputs
    for axis in range(len(tensor.shape) - 1):
        graph.link((output, axis), (tensor, axis))
    graph.link((tensor, -1), (weights["kernel"], 0))
    graph.produce(weights["kernel"], 1, (output, -1), *bias_of(weights))


def embedding(call: Call, graph: Any) -> None:
    """A table (ids, out)."""
    (tensor,), (output,) = call.inputs, call.outputs
    for axis in range(len(tensor.shape)):
        graph.link((output, axis), (tensor, axis))
    graph.produce(weights_of(call.operation)["embeddings"], 1, (output, -1))


def convolution(call: Call, graph: Any) -> None:
    """A kernel (..., in, out). With groups, it has the inputs of one group and the outputs of all groups."""
    if call.operation.groups == 1:
        _convolve(call, graph, taken=-2, made=-1)
        return
    weights, axis = weights_of(call.operation), channel_axis(call)
    grouped_weights(call.operation, graph)
    groups = call.operation.groups
    (group,) = graph.new_segments(groups)
    graph.set((call.inputs[0], axis), fused([group, graph[weights["kernel"], -2]]))
    (made,) = graph.new_segments(weights["kernel"].shape[-1] // groups)
    graph.set((weights["kernel"], -1), fused([group, made]))
    graph.produce(weights["kernel"], -1, (call.outputs[0], axis), *bias_of(weights))


def grouped_weights(layer: Any, graph: Any) -> None:
    """A kernel with groups produces an axis of groups times channels of a group."""
    weights = weights_of(layer)
    size = weights["kernel"].shape[-1]
    graph.set((weights["kernel"], -1), fused(graph.new_segments(layer.groups, size // layer.groups)))
    graph.link((weights["kernel"], -1), *bias_of(weights))


def transposed_convolution(call: Call, graph: Any) -> None:
    """A kernel (..., out, in)."""
    _convolve(call, graph, taken=-1, made=-2)


def depthwise_convolution(call: Call, graph: Any) -> None:
    """A kernel (..., channels, multiplier). The results of one channel are side by side."""
    weights, axis = weights_of(call.operation), channel_axis(call)
    graph.link((call.inputs[0], axis), (weights["kernel"], -2))
    graph.set((call.outputs[0], axis), _multiplied(weights["kernel"], graph))
    graph.link((call.outputs[0], axis), *bias_of(weights))


def separable_convolution(call: Call, graph: Any) -> None:
    """A depthwise kernel (..., in, multiplier), then a pointwise one (..., in * multiplier, out)."""
    weights, axis = weights_of(call.operation), channel_axis(call)
    separable_weights(call.operation, graph)
    graph.link((call.inputs[0], axis), (weights["depthwise_kernel"], -2))
    graph.produce(weights["pointwise_kernel"], -1, (call.outputs[0], axis), *bias_of(weights))


def separable_weights(layer: Any, graph: Any) -> None:
    """The inputs of the pointwise kernel are the results of the depthwise kernel."""
    weights = weights_of(layer)
    depthwise = weights["depthwise_kernel"]
    graph.set((weights["pointwise_kernel"], -2), _multiplied(depthwise, graph))
    graph.link((depthwise, -2))


def _multiplied(depthwise: Any, graph: Any) -> Layout:
    """The results of a depthwise kernel. With a multiplier of 1, these are the channels themselves."""
    if depthwise.shape[-1] == 1:
        return graph[depthwise, -2]
    graph.link((depthwise, -1))
    return fused([graph[depthwise, -2], graph[depthwise, -1]])


def einsum_dense(call: Call, graph: Any) -> None:
    """Equal letters of the equation are the same axis. The bias belongs to the last axes of the output."""
    (tensor,), (output,) = call.inputs, call.outputs
    weights, layer = weights_of(call.operation), call.operation
    terms = layer.equation.replace(" ", "").replace("->", ",").split(",")
    given, kernel, made = (letters(term, len(tensor.shape), terms[0]) for term in terms)
    bias = weights.get("bias")
    offset = len(made) - len(bias.shape) if bias is not None else 0
    for letter in dict.fromkeys([*given, *kernel, *made]):
        axes = [(tensor, a) for a, other in enumerate(given) if other == letter]
        axes += [(output, a) for a, other in enumerate(made) if other == letter]
        if bias is not None and letter in layer.bias_axes:
            axes += [(bias, made.index(letter) - offset)]
        own = [a for a, other in enumerate(kernel) if other == letter]
        if own and letter in made and letter not in given:
            graph.produce(weights["kernel"], own[0], *axes)
        elif len(axes) + len(own) > 1:
            graph.link(*axes, *[(weights["kernel"], a) for a in own])


def einsum(call: Call, graph: Any) -> None:
    """The operation, with its letters as in `einsum_dense`."""
    terms = call.operation.subscripts.replace(" ", "").split("->")
    operands = terms[0].split(",")
    if len(terms) != 2 or len(operands) != len(call.inputs) or "." in call.operation.subscripts:
        return
    axes: dict[str, list[Any]] = {}
    for term, tensor in zip([*operands, terms[1]], [*call.inputs, call.outputs[0]]):
        for axis, letter in enumerate(term):
            axes.setdefault(letter, []).append((tensor, axis))
    for found in axes.values():
        graph.link(*found)


def matmul(call: Call, graph: Any) -> None:
    """A product of matrices. The axes before the last two are broadcast."""
    if len(call.inputs) != 2 or min(len(tensor.shape) for tensor in call.inputs) < 2:
        return
    (one, other), (output,) = call.inputs, call.outputs
    graph.link((one, -1), (other, -2))
    graph.link((output, -2), (one, -2))
    graph.link((output, -1), (other, -1))
    for tensor in call.inputs:
        for axis in range(-len(tensor.shape), -2):
            if tensor.shape[axis] != 1 or output.shape[axis] == 1:
                graph.link((output, axis), (tensor, axis))


def letters(term: str, rank: int, first: str) -> list[str]:
    """The axes of one term of an equation. Those in an ellipsis are numbered."""
    elided = [str(i) for i in range(rank - len(first.replace(".", "")))]
    before, dots, after = term.partition("...")
    return [*before, *(elided if dots else []), *after]


def _convolve(call: Call, graph: Any, taken: int, made: int) -> None:
    weights, axis = weights_of(call.operation), channel_axis(call)
    graph.link((call.inputs[0], axis), (weights["kernel"], taken))
    graph.produce(weights["kernel"], made, (call.outputs[0], axis), *bias_of(weights))
