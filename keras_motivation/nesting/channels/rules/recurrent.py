"""Recurrent layers, whose kernels have a block of units for each gate, and layers that contain another layer."""

from typing import Any

import keras
from keras import layers

from keras_motivation.nesting.channels.layouts import concat, fused
from keras_motivation.nesting.channels.rules.call import Call, weights_of

GATES = {layers.SimpleRNNCell: 1, layers.LSTMCell: 4, layers.GRUCell: 3}
CONVOLUTIONAL = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)


def cell_weights(cell: Any, graph: Any) -> None:
    """A kernel (in, gates * units), a recurrent one (units, gates * units), a bias (gates * units,) or two."""
    gates = GATES.get(type(cell), 4)  # a cell without its own class is that of a ConvLSTM
    weights = weights_of(cell)
    recurrent = weights["recurrent_kernel"]
    units = graph[recurrent, -2]
    graph.link((recurrent, -2))
    (gate,) = graph.new_segments(gates)
    graph.set((recurrent, -1), fused([gate, units]) if gates > 1 else units)
    graph.produce(weights["kernel"], -1, (recurrent, -1))
    if "bias" in weights:
        graph.link((weights["kernel"], -1), (weights["bias"], -1))


def recurrent(call: Call, graph: Any) -> None:
    """A layer with one cell. Its states also have the units."""
    layer = call.operation
    _run(layer, [layer.cell], call.inputs[0], call.outputs[0], graph)
    units = (weights_of(layer.cell)["recurrent_kernel"], -2)
    if isinstance(layer, CONVOLUTIONAL):
        return
    for state in [*call.inputs[1:], *call.outputs[1:]]:
        if len(state.shape) == 2 and state.shape[-1] == units[0].shape[-2]:
            graph.link((state, -1), units)


def generic_rnn(call: Call, graph: Any) -> None:
    """`RNN` with one of Keras's cells, or with several in a row: each receives the units of the one before."""
    cell = call.operation.cell
    if type(cell) in GATES:
        recurrent(call, graph)
    elif type(cell) is layers.StackedRNNCells and all(type(one) in GATES for one in cell.cells):
        _run(call.operation, cell.cells, call.inputs[0], call.outputs[0], graph)


def _run(layer: Any, cells: list[Any], tensor: Any, output: Any, graph: Any) -> None:
    first = getattr(layer, "data_format", None) == "channels_first"
    taken = (tensor, 2 if first else -1)
    for cell in cells:
        cell_weights(cell, graph)
        weights = weights_of(cell)
        graph.link(taken, (weights["kernel"], -2))
        taken = (weights["recurrent_kernel"], -2)
    graph.link((output, (2 if layer.return_sequences else 1) if first else -1), taken)
    if layer.return_sequences:
        graph.link((output, 1), (tensor, 1))
    graph.link((output, 0), (tensor, 0))


def bidirectional(call: Call, graph: Any) -> None:
    """Two recurrent layers on the same inputs, whose results are joined or merged."""
    layer = call.operation
    both = layer.forward_layer, layer.backward_layer
    if not all(type(getattr(one, "cell", None)) in GATES for one in both):
        return
    units = []
    for one in both:
        cell_weights(one.cell, graph)
        weights = weights_of(one.cell)
        graph.link((call.inputs[0], -1), (weights["kernel"], -2))
        units.append((weights["recurrent_kernel"], -2))
    if layer.merge_mode is None:
        outputs = call.outputs[:2]
        for output, made in zip(outputs, units):
            graph.link((output, -1), made)
    else:
        outputs = call.outputs[:1]
        if layer.merge_mode == "concat":
            graph.set((outputs[0], -1), concat([graph[made] for made in units]))
        else:
            graph.link((outputs[0], -1), *units)
    for output in outputs:
        graph.link((output, 0), (call.inputs[0], 0))
        if layer.return_sequences:
            graph.link((output, 1), (call.inputs[0], 1))
    states = call.outputs[len(outputs) :]
    for i, state in enumerate(states):
        graph.link((state, -1), units[i * 2 // len(states)])


def time_distributed(call: Call, graph: Any) -> None:
    """The inner layer is applied at each position of axis 1."""
    (tensor, *_), (output,) = call.inputs, call.outputs
    inside = [keras.KerasTensor((t.shape[0], *t.shape[2:]), t.dtype) for t in (tensor, output)]
    for outer, inner in zip((tensor, output), inside):
        for axis in range(len(inner.shape)):
            graph.link((outer, axis + (axis > 0)), (inner, axis))
    graph.link((output, 1), (tensor, 1))
    graph.run(Call(call.operation.layer, (inside[0],), {}, inside[:1], inside[1:]))
