"""Attention: the axis of heads has its own channels."""

import inspect
from typing import Any

from keras_motivation import _keras
from keras_motivation.nesting.channels.layouts import fused
from keras_motivation.nesting.channels.rules.call import Call, bias_of, weights_of


def multi_head_attention(call: Call, graph: Any) -> None:
    """The axis of heads has its own channels: the projections produce them, and the output kernel uses them. The same
    holds for the entries of values. The head size stays closed, because the scores are divided by its square root.
    Grouped queries have several heads for each head of keys and values, side by side.
    """
    layer, (output, *others) = call.operation, call.outputs
    arguments = inspect.signature(layer.call).bind(*call.args, **call.kwargs).arguments
    query, value = arguments["query"], arguments["value"]
    key = value if arguments.get("key") is None else arguments["key"]
    parts = {part.name: weights_of(part) for part in _keras.direct_sublayers(layer)}
    q, k, v, out = (parts[name] for name in ("query", "key", "value", "attention_output"))
    if others or len(out["kernel"].shape) != 3:
        return
    of_queries = [(query, weights) for weights in (q, parts.get("gate")) if weights]
    for tensor, weights in [*of_queries, (key, k), (value, v)]:
        graph.link((tensor, -1), (weights["kernel"], 0))
    for _, weights in of_queries:
        graph.produce(weights["kernel"], 1, (out["kernel"], 0), *bias_of(weights, 0))
    for weights in (k, v):
        graph.produce(weights["kernel"], 1, (k["kernel"], 1), *bias_of(weights, 0))
    repeats = q["kernel"].shape[1] // k["kernel"].shape[1]
    several = graph.new_segments(repeats) if repeats > 1 else []
    graph.set((out["kernel"], 0), fused([graph[k["kernel"], 1], *several]))
    graph.produce(v["kernel"], 2, (out["kernel"], 1), *bias_of(v, 1))
    graph.produce(out["kernel"], 2, (output, -1), *bias_of(out))
    for axis in range(len(query.shape) - 1):
        graph.link((output, axis), (query, axis))


def fused_projection_weights(layer: Any, graph: Any) -> None:
    """A kernel whose name says that it produces query, key and value side by side; the check by numbers confirms it."""
    weights = weights_of(layer)
    size = weights["kernel"].shape[-1]
    if size % 3 == 0:
        graph.set((weights["kernel"], -1), fused(graph.new_segments(3, size // 3)))
        for bias in bias_of(weights):
            graph.link((weights["kernel"], -1), bias)
