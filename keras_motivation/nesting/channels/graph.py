"""Reads the graph of a model and finds the layout of each axis of each weight and tensor, from the calls of layers.

An axis that no rule relates to others is closed: it gets a barrier, with the reason in words. A barrier does not matter
if both models have the same number of channels. The first channels also pass through it. Only a selection of other
channels is not possible there. So unknown layers are safe.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.nesting.channels.layouts import Layout, Segment, resolved, segments_of, unify
from keras_motivation.nesting.channels.rules import Call, described, find_rule, is_per_channel, rule_of_weights

Axis = tuple[Any, int]  # a variable or a symbolic tensor, and one of its axes; negative ones count from the end
Key = tuple[int, int]


@dataclass(frozen=True)
class Inside:
    """The graph inside of a model or layer: its symbolic inputs and outputs, and the calls, producers first."""

    inputs: list[Any]
    outputs: list[Any]
    calls: list[Call]


class Graph:
    """Layouts of all axes of a model.

    Args:
        model: A built model.
        deep: Whether to look into layers that no rule knows, and into subclassed models, by a symbolic call of each.

    Attributes:
        model: The model.
        inputs: Its symbolic inputs, as far as it has a graph.
        outputs: Its symbolic outputs, likewise.
        ends: The barriers that inputs and outputs are.
        calls: The calls of each layer or operation, by its id, in the order of the graph.
        producers: `(variable, axis)` of the kernels that produce channels, in the order of the graph.
    """

    def __init__(self, model: keras.Model, deep: bool = False) -> None:
        self.model = model
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.ends = [f"the {what} of model '{model.name}'" for what in ("inputs", "outputs")]
        self._deep = deep
        self.calls: dict[int, list[Call]] = defaultdict(list)
        self.producers: list[Axis] = []
        self._layouts: dict[Key, Layout] = {}
        self._barriers: list[tuple[Layout, str]] = []
        self._wholes: list[Layout] = []
        self._owners: dict[int, Any] = {}  # keeps all objects alive whose id is a key
        self._inside: dict[int, Inside | None] = {}  # of layers that hold a graph, read once
        self._related: set[Key] = set()  # axes that the running rule has related
        self._running = ""
        self._read_model()

    # ---- For users of the graph

    def layout(self, thing: Any, axis: int) -> Layout:
        """The layout of an axis, as far as it is known."""
        return resolved(self[thing, axis])

    def barriers(self) -> dict[Segment, list[str]]:
        """For each segment, in words, the places where the order of its channels cannot be followed."""
        found: dict[Segment, list[str]] = defaultdict(list)
        for layout, reason in self._barriers:
            for segment in segments_of(resolved(layout)):
                found[segment] += [] if reason in found[segment] else [reason]
        return found

    def is_whole(self, layout: Layout) -> bool:
        """Whether a layout is one that cannot be had in part, such as the channels that a norm takes together."""
        return layout in [resolved(whole) for whole in self._wholes]

    # ---- For rules

    def __getitem__(self, axis: Axis) -> Layout:
        thing, position = axis
        key = self._key(axis)
        if key not in self._layouts:
            self._layouts[key] = Segment(thing.shape[position])
        return self._layouts[key]

    def link(self, *axes: Axis) -> None:
        """Says that these axes have the same channels in the same order."""
        for axis in axes:
            self.set(axis, self[axes[0]])

    def set(self, axis: Axis, layout: Layout) -> None:
        """Says that this axis has this layout."""
        self._related.add(self._key(axis))
        if not unify(self[axis], layout):
            reason = f"{self._running}, where they meet others that are joined otherwise"
            self._barriers += [(self[axis], reason), (layout, reason)]

    def produce(self, kernel: Any, axis: int, *others: Axis) -> None:
        """Like `link`, for channels that `kernel` produces."""
        self.link((kernel, axis), *others)
        made = (kernel, axis % len(kernel.shape))
        if not any(kernel is known and made[1] == other for known, other in self.producers):  # a layer called twice
            self.producers.append(made)

    def new_segments(self, *sizes: int) -> list[Segment]:
        """New segments."""
        return [Segment(size) for size in sizes]

    def run(self, call: Call) -> None:
        """Applies the rule of a layer inside another layer, if there is one."""
        rule = find_rule(call.operation)
        if rule is not None:
            rule(call, self)

    def keep_whole(self, segment: Segment) -> None:
        """A base must have all of these channels or none of them."""
        self._wholes.append(segment)

    def close(self, thing: Any, reason: str) -> None:
        """Puts a barrier on all axes that the running rule has not related."""
        for axis in range(len(thing.shape)):
            if self._key((thing, axis)) not in self._related:
                self._barriers.append((self[thing, axis], reason))

    # ---- Reading

    def _read_model(self) -> None:
        inside = self._look_into(self.model, (_keras.inputs_struct(self.model),), {})
        if inside is not None:
            self.inputs, self.outputs = inside.inputs, inside.outputs
            self._related = set()
            for end, tensors in zip(self.ends, (self.inputs, self.outputs)):
                for tensor in tensors:  # their order is fixed from outside, so it must be kept
                    self.close(tensor, end)
        unreached = [v for v in self.model.variables if id(v) not in self._owners]
        for layer in _keras.all_layers(self.model):
            rule = None if id(layer) in self.calls else rule_of_weights(layer)
            if rule is not None:
                self._related, self._running = set(), described(layer)
                rule(layer, self)
        self._related = set()
        for variable in unreached:
            if inside is None:
                kind = type(self.model).__name__
                reason = f"model '{self.model.name}' ({kind}), which is not functional or Sequential"
            else:
                reason = f"weight '{variable.path}', which no call in the graph explains"
            self.close(variable, reason)

    def _look_into(self, operation: Any, args: Any, kwargs: Any) -> Inside | None:
        """The graph inside of a layer or model, whose calls are read when it is met first; None if there is none."""
        if id(operation) not in self._inside:
            self._inside[id(operation)] = inside = self._graph_of(operation, args, kwargs)
            for call in [] if inside is None else inside.calls:
                self._read_call(call)
        return self._inside[id(operation)]

    def _graph_of(self, operation: Any, args: Any, kwargs: Any) -> Inside | None:
        graph = _keras.graph(operation)
        if graph is not None:
            return Inside(graph.inputs, graph.outputs, [Call(*call) for call in _keras.graph_calls(graph)])
        if not self._deep or find_rule(operation) is not None or not isinstance(operation, keras.Layer):
            return None
        traced = _keras.traced(operation, args, kwargs)
        return None if traced is None else Inside(traced.inputs, traced.outputs, [Call(*call) for call in traced.calls])

    def _read_call(self, call: Call) -> None:
        operation = call.operation
        self.calls[id(operation)].append(call)
        inside = self._look_into(operation, call.args, call.kwargs)
        self._related, self._running = set(), described(operation)
        things = [*call.inputs, *call.outputs]
        if inside is not None:
            self._enter(call, inside)
        else:
            things += getattr(operation, "variables", [])
            rule = find_rule(operation)
            if rule is not None:
                rule(call, self)
        for thing in things:
            self.close(thing, self._running)
        if inside is None and not is_per_channel(getattr(operation, "activation", None)):
            self._related = set()
            for output in call.outputs:
                self.close(output, f"{self._running}, whose activation is not one of Keras's")

    def _enter(self, call: Call, inside: Inside) -> None:
        """Links the arguments and results of a call to the symbolic tensors of the graph inside."""
        given = call.inputs
        if _keras.graph(call.operation) is not None:
            given = keras.tree.flatten(call.args[0]) if call.args else []
            struct = _keras.inputs_struct(_keras.graph(call.operation))
            try:
                keras.tree.assert_same_structure(
                    keras.tree.lists_to_tuples(call.args[0]), keras.tree.lists_to_tuples(struct)
                )
            except (ValueError, TypeError, IndexError):  # not called as it was built; without links it is closed
                given = given if len(given) == len(inside.inputs) == 1 else []
        if len(given) != len(inside.inputs):
            given = []
        for outer, inner in [*zip(given, inside.inputs), *zip(call.outputs, inside.outputs)]:
            if len(outer.shape) == len(inner.shape):
                for axis in range(len(inner.shape)):
                    self.link((outer, axis), (inner, axis))

    def _key(self, axis: Axis) -> Key:
        thing, position = axis
        self._owners[id(thing)] = thing
        return id(thing), position % len(thing.shape)
