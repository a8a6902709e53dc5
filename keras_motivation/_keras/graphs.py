"""Keras's functional graphs: their calls, inputs and outputs."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation._keras.layers import all_layers
from keras_motivation._keras.models import takes_training


def output_activations(model: Any) -> list[tuple[Any, Any]]:
    """Layers that apply softmax or sigmoid to an output of a functional or Sequential model, with this activation."""
    saturating = (keras.activations.softmax, keras.activations.sigmoid)
    makers = {id(m): m for m in map(producer, keras.tree.flatten(outputs_struct(graph(model)))) if m is not None}
    return [(m, m.activation) for m in makers.values() if getattr(m, "activation", None) in saturating]


@contextlib.contextmanager
def linear_outputs(model: Any) -> Iterator[None]:
    """A context in which the layers of `output_activations` apply no activation."""
    kept = output_activations(model)
    try:
        for layer, _ in kept:
            layer.activation = keras.activations.linear
        yield
    finally:
        for layer, activation in kept:
            layer.activation = activation


def input_tensors(layer: Any) -> list[Any]:
    """The symbolic inputs of a layer's first call in a functional model; none inside subclassed ones.

    `Layer.input` raises for a layer that is called twice.
    """
    return layer._inbound_nodes[0].input_tensors if getattr(layer, "_inbound_nodes", None) else []


def producer(tensor: Any) -> Any:
    """The layer that made a symbolic tensor, or None."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def inputs_struct(model: Any) -> Any:
    """The inputs of a model in their structure, as tensors with shape and dtype; None if they are not known.

    `Model.inputs` has no keys. Of a subclassed model, Keras keeps only the shapes with which it was built.
    """
    if hasattr(model, "_inputs_struct"):
        return model._inputs_struct
    if isinstance(model, keras.Sequential) and getattr(model, "inputs", None):  # one of PyTorch modules has none
        return model.inputs[0]
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(size is None or isinstance(size, int) for size in shape):
        return None
    # The batch size with which the model was built does not matter, and the dtype is not known. If a model has an
    # embedding and its inputs are rows, assume that these are ids.
    looks_up = len(shape) == 2 and any(isinstance(layer, keras.layers.Embedding) for layer in all_layers(model))
    return keras.KerasTensor((None, *shape[1:]), dtype="int32" if looks_up else keras.config.floatx())


def outputs_struct(model: Any) -> Any:
    """The symbolic outputs of a functional model in their structure, or None. `Model.outputs` has no keys."""
    return getattr(model, "_outputs_struct", None)


def graph(model: Any) -> Any:
    """The functional graph that a model computes, or None if its `call` is the user's own.

    `keras.Model(inputs, outputs)` makes an instance of a class without a public name. A Sequential model has the graph
    of its layers in a private attribute.
    """
    from keras.src.models.functional import Functional

    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
        return model._functional
    return model if isinstance(model, Functional) and type(model).call is Functional.call else None


def graph_calls(graph: Any) -> list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any], list[Any]]]:
    """The calls in a functional graph, producers before consumers.

    Returns:
        For each call the layer or operation, its arguments and keyword arguments, and its symbolic inputs and outputs.
        `Function.operations` is public but does not separate the calls of a layer that is called more than once.
    """
    by_depth = graph._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]
    return [
        (node.operation, node.arguments.args, node.arguments.kwargs, node.input_tensors, node.outputs) for node in nodes
    ]


def operation_kind(operation: Any) -> str | None:
    """The class name of one of Keras's operations, such as `Add` for `x + y` and `keras.ops.add`; None for all others.

    Keras does not export these classes.
    """
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.src.ops.") else None


@dataclasses.dataclass(frozen=True)
class Traced:
    """The graph of a layer's own `call`.

    Attributes:
        inputs: The symbolic tensors that stand for those among the arguments, in their order.
        outputs: The symbolic results, flat.
        calls: As `graph_calls` returns them.
    """

    inputs: list[Any]
    outputs: list[Any]
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any], list[Any]]]


def traced(layer: Any, args: Any, kwargs: Any) -> Traced | None:
    """What a layer of the user's computes, as a graph; None if its `call` does more than call layers and `keras.ops`.

    Keras itself looks into `call` with the backend's tensors. On symbolic ones, each call of a layer or operation
    inside is recorded as in a functional model. The records of the layers are put back afterwards, since `Layer.output`
    and later functional models read them.

    Args:
        layer: The layer, built.
        args: The arguments of a call, with symbolic tensors.
        kwargs: The keyword arguments.
    """
    layers = all_layers(layer)
    before = [(one, len(one._inbound_nodes), len(one._outbound_nodes)) for one in layers]
    plain = [one for one in layers if "add_loss" not in vars(one)]
    inputs: list[Any] = []

    def fresh(leaf: Any) -> Any:
        if isinstance(leaf, keras.KerasTensor):
            inputs.append(leaf := keras.KerasTensor(leaf.shape, leaf.dtype, sparse=leaf.sparse))
        return leaf

    try:
        args, kwargs = keras.tree.map_structure(fresh, (args, kwargs))
        if takes_training(layer):
            kwargs = {**kwargs, "training": False}
        for one in plain:
            vars(one)["add_loss"] = lambda loss: None  # Keras's own takes values only
        with keras.StatelessScope():  # in which a layer that counts its calls does not
            outputs = keras.tree.flatten(type(layer).call(layer, *args, **kwargs))
        return Traced(inputs, outputs, graph_calls(keras.Function(inputs, outputs)))
    except Exception:  # of the user's code: it may well ask for values
        return None
    finally:
        for one in plain:
            vars(one).pop("add_loss", None)  # not there if the arguments could not be read
        for one, inbound, outbound in before:
            del one._inbound_nodes[inbound:], one._outbound_nodes[outbound:]
