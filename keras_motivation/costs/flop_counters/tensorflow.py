"""TensorFlow: the model is traced into a graph, not run, and the nodes of the graph are counted."""

from math import prod
from operator import attrgetter
from typing import Any

import tensorflow as tf

CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def forward_flops(model: Any, inputs: Any, **kwargs: Any) -> int:
    """2 x multiply-adds of one forward pass."""
    kinds = (model.trainable_variables, model.non_trainable_variables)

    def forward(x: Any) -> Any:
        return model.stateless_call(*([v.value for v in kind] for kind in kinds), x, **kwargs)[0]

    traced = tf.function(forward).get_concrete_function(inputs)
    graph = traced.graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in attrgetter("library.function")(graph)}
    outputs = [tensor.op.name for tensor in traced.graph.outputs]
    return 2 * _multiply_adds(_needed(graph.node, outputs), {}, functions)


def _needed(nodes: Any, outputs: list[str]) -> list[Any]:
    """The nodes on which the outputs depend. TensorFlow does not run the others, which recurrent layers leave there."""
    by_name = {node.name: node for node in nodes}
    found: dict[str, Any] = {}
    while outputs:
        name = outputs.pop()
        if name not in found:
            found[name] = by_name[name]
            outputs += [source.lstrip("^").split(":")[0] for source in by_name[name].input]
    return list(found.values())


def _multiply_adds(nodes: Any, shapes: dict[str, list[Any]], functions: Any) -> int:
    """Counts the nodes of a graph or function. `shapes` has the shapes of the function's arguments, by name."""
    shapes = shapes | {node.name: [_shape(s) for s in node.attr["_output_shapes"].list.shape] for node in nodes}
    by_name = {node.name: node for node in nodes}
    readers = {name.split(":")[0]: node for node in nodes for name in node.input}
    total = 0
    for node in nodes:
        given = [_named(name, shapes) for name in node.input if not name.startswith("^")]
        whole = _dilated(node, readers) if node.op in CONVOLUTIONS else node.name
        out: Any = shapes[whole][0] if shapes[whole] else None
        if node.op in ("Conv2D", "Conv3D"):
            total += prod(out) * prod(given[1]) // given[1][-1]
        elif node.op == "DepthwiseConv2dNative":
            total += prod(out) * prod(given[1][:2])
        elif node.op in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):  # a transposed convolution
            total += prod(given[2]) * prod(given[1]) // given[1][-1]
        elif node.op == "MatMul":
            total += prod(out) * given[0][0 if node.attr["transpose_a"].b else 1]
        elif node.op in ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
            total += prod(out) * given[0][-2 if node.attr["adj_x"].b else -1]
        elif node.op == "Einsum":
            total += _einsum(node.attr["equation"].s.decode(), given)
        elif node.op in CALLS:
            total += _function(node.attr["f"].func.name, given, functions)
        elif node.op in ("If", "StatelessIf"):
            branches = [node.attr[branch].func.name for branch in ("then_branch", "else_branch")]
            total += max(_function(name, given[1:], functions) for name in branches)
        elif node.op in ("While", "StatelessWhile"):
            total += _loop(node, given, by_name, functions)
    return total


def _dilated(node: Any, readers: dict[str, Any]) -> str:
    """The node with a convolution's real output. To dilate one, TensorFlow pads and moves parts to the batch axis."""
    reader = readers.get(node.name)
    while reader is not None and reader.op in ("Squeeze", "Identity"):
        reader = readers.get(reader.name)
    return reader.name if reader is not None and reader.op == "BatchToSpaceND" else node.name


def _einsum(equation: str, given: list[Any]) -> int:
    terms = equation.split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, given):
        before, dots, after = term.partition("...")
        more = len(shape) - len(before) - len(after) if dots else 0
        for i, size in enumerate(reversed(shape[len(before) : len(before) + more])):
            sizes[f"...{i}"] = max(size, sizes.get(f"...{i}", 1))
        sizes |= dict(zip(before, shape)) | dict(zip(reversed(after), reversed(shape)))
    return prod(sizes.values()) if len(terms) > 1 else 0


def _function(name: str, given: list[Any], functions: Any) -> int:
    function = functions[name]
    arguments = {arg.name: [shape] for arg, shape in zip(function.signature.input_arg, given)}
    return _multiply_adds(function.node_def, arguments, functions)


def _loop(node: Any, given: list[Any], by_name: Any, functions: Any) -> int:
    body = _function(node.attr["body"].func.name, given, functions)
    if not body:
        return 0
    # The first inputs of a loop are its counter and its greatest number of turns. Keras's recurrent layers know this
    # number: it is the maximum over one constant.
    limit = by_name.get(node.input[1].split(":")[0])
    while limit is not None and limit.op in ("Max", "Identity", "Cast"):
        limit = by_name.get(limit.input[0].split(":")[0])
    turns = int(tf.make_ndarray(limit.attr["value"].tensor).max()) if limit is not None and limit.op == "Const" else -1
    if turns < 0:
        raise ValueError("FLOPs cannot be counted in a loop whose length is not known before it runs.")
    return body * turns


def _named(name: str, shapes: dict[str, list[Any]]) -> Any:
    """The shape of an input, from its name: "node", "node:1", or, inside functions, "node:output:1"."""
    node, _, place = name.partition(":")
    place = place.rpartition(":")[2]
    return shapes[node][int(place) if place.isdigit() else 0] if shapes.get(node) else None


def _shape(proto: Any) -> Any:
    return None if proto.unknown_rank else tuple(dim.size for dim in proto.dim)
