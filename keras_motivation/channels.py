"""Which axes of which weights hold the same channels.

What a convolution puts out, batch norm scales, a residual sum joins with another branch and the next convolution takes
in: a channel is one position on an axis of each of these weights. Where a base shall get other channels than the first,
it must get the same ones everywhere. The graphs of both models tell: each call of a layer links axes of its weights and
of its symbolic inputs and outputs (`channel_rules`), and linked axes form a group.

What a rule does not link is closed: a barrier that is no harm to a group of equal size in both models, and a reason to
refuse one that grew. So whatever is unknown is safe.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.channel_rules import Call, find_rule, is_per_channel

Axis = tuple[Any, int]  # a variable or a symbolic tensor, and one of its axes; negative ones count from the end
Key = tuple[int, int]


@dataclass
class Group:
    """Axes of weights that hold the same channels.

    Attributes:
        mapped: `(base variable, motivated variable, axis)` of each axis of a mapped weight.
        sizes: The lengths of all axes of motivated weights in the group, also of those without a partner; more than
            one if the two models disagree on what belongs together.
        producers: `(motivated variable, axis)` of the kernels that make the channels, in the order of the graph.
        barriers: What else these channels pass through, where their order cannot be followed, in words.
    """

    mapped: list[tuple[Any, Any, int]] = field(default_factory=list)
    sizes: set[int] = field(default_factory=set)
    producers: list[Axis] = field(default_factory=list)
    barriers: list[str] = field(default_factory=list)

    @property
    def grew(self) -> bool:
        """Whether a base weight is shorter than its partner here."""
        return any(inner.shape[axis] != outer.shape[axis] for inner, outer, axis in self.mapped)


class Channels:
    """Axes, linked into groups as calls are read."""

    def __init__(self) -> None:
        self._parents: dict[Key, Key] = {}
        self._barriers: dict[Key, list[str]] = defaultdict(list)
        self._owners: dict[int, Any] = {}  # keeps everything alive whose id is in a key
        self._graphs: set[int] = set()
        self._linked: set[Key] = set()  # by the rule that is running
        self.producers: list[Axis] = []

    def link(self, *axes: Axis) -> None:
        """These axes hold the same channels in the same order."""
        keys = [self._key(axis) for axis in axes]
        self._linked.update(keys)
        for key in keys[1:]:
            self._parents[self.find(key)] = self.find(keys[0])

    def produce(self, kernel: Any, axis: int, *others: Axis) -> None:
        """As `link`, where `kernel` makes the channels."""
        self.link((kernel, axis), *others)
        self.producers.append((kernel, axis % len(kernel.shape)))

    def close(self, things: list[Any], reason: str, but: Collection[Key] = ()) -> None:
        """Puts a barrier on all axes of `things`, except those in `but`."""
        for thing in things:
            for axis in range(len(thing.shape)):
                if (key := self._key((thing, axis))) not in but:
                    self._barriers[key].append(reason)

    def find(self, key: Key) -> Key:
        """The key that stands for the group of `key`."""
        while (parent := self._parents.setdefault(key, key)) != key:
            self._parents[key] = key = self._parents[parent]  # halves the way for the next time
        return key

    def of(self, variable: Any, axis: int) -> Key:
        """The key that stands for the group of an axis of a weight."""
        return self.find((id(variable), axis))

    def barriers(self) -> dict[Key, list[str]]:
        """The barriers of each group that has some."""
        found: dict[Key, list[str]] = defaultdict(list)
        for key, reasons in self._barriers.items():
            found[self.find(key)] += [reason for reason in reasons if reason not in found[self.find(key)]]
        return found

    def read_model(self, model: keras.Model) -> None:
        """Reads a whole model; its inputs and outputs are the outside world's, so that they must keep their order."""
        graph = _keras.graph(model)
        if graph is None:
            reason = f"model '{model.name}' ({type(model).__name__}), which is not functional or Sequential"
            return self.close(model.variables, reason)
        self.read_graph(graph)
        self.close(graph.inputs, f"the inputs of model '{model.name}'")
        self.close(graph.outputs, f"the outputs of model '{model.name}'")
        unreached = [v for v in model.variables if id(v) not in self._owners]
        for variable in unreached:
            self.close([variable], f"weight '{variable.path}', which no call in the graph explains")
        return None

    def read_graph(self, graph: Any) -> None:
        """Reads each call of a functional graph, once."""
        if id(graph) in self._graphs:
            return
        self._graphs.add(id(graph))
        for operation, args, kwargs, inputs, outputs in _keras.graph_calls(graph):
            nested = _keras.graph(operation)
            call = Call(operation, args, kwargs, inputs, outputs)
            if nested is not None:
                self.read_graph(nested)
            self._read_call(call, nested)

    def _read_call(self, call: Call, nested: Any) -> None:
        self._linked = set()
        things = [*call.inputs, *call.outputs]
        if nested is not None:
            self._enter(call, nested)
        else:
            things += getattr(call.operation, "variables", [])
            rule = find_rule(call.operation)
            if rule is not None:
                rule(call, self)
        self.close(things, call.described, but=self._linked)
        if nested is None and not is_per_channel(getattr(call.operation, "activation", None)):
            self.close(call.outputs, f"{call.described}, whose activation is not one of Keras's")

    def _enter(self, call: Call, nested: Any) -> None:
        """Links the arguments and results of a nested model to the symbolic tensors of its own graph."""
        given = keras.tree.flatten(call.args[0]) if call.args else []
        try:
            keras.tree.assert_same_structure(
                keras.tree.lists_to_tuples(call.args[0]), keras.tree.lists_to_tuples(_keras.inputs_struct(nested))
            )
        except (ValueError, TypeError, IndexError):  # called otherwise than it was built; unlinked is closed
            given = given if len(given) == len(nested.inputs) == 1 else []
        for outside, inside in [*zip(given, nested.inputs), *zip(call.outputs, nested.outputs)]:
            if len(outside.shape) == len(inside.shape):
                for axis in range(len(inside.shape)):
                    self.link((outside, axis), (inside, axis))

    def _key(self, axis: Axis) -> Key:
        thing, position = axis
        self._owners[id(thing)] = thing
        return id(thing), position % len(thing.shape)


def channel_groups(pairs: list[tuple[Any, Any]], base: keras.Model, motivated: keras.Model) -> list[Group]:
    """The groups of channels of a pair of models.

    An axis of a base weight and the same axis of its partner are in one group, so that what either graph ties together
    stays together.

    Args:
        pairs: `(base variable, motivated variable)` of the mapped weights.
        base: The base model, built.
        motivated: The motivated model, built.

    Returns:
        The groups with a mapped weight, in the order of their first producers in the motivated graph.
    """
    channels = Channels()
    channels.read_model(motivated)
    producers = list(channels.producers)
    channels.read_model(base)
    for inner, outer in pairs:
        for axis in range(min(len(inner.shape), len(outer.shape))):
            channels.link((outer, axis), (inner, axis))

    groups: dict[Key, Group] = defaultdict(Group)
    for kernel, axis in producers:
        group = groups[channels.of(kernel, axis)]
        if not any(kernel is known and axis == other for known, other in group.producers):  # a layer called twice
            group.producers.append((kernel, axis))
    for inner, outer in pairs:
        for axis in range(min(len(inner.shape), len(outer.shape))):
            groups[channels.of(outer, axis)].mapped.append((inner, outer, axis))
    for variable in motivated.variables:
        for axis, size in enumerate(variable.shape):
            groups[channels.of(variable, axis)].sizes.add(size)
    for key, reasons in channels.barriers().items():
        groups[key].barriers += reasons
    return [group for group in groups.values() if group.mapped]
