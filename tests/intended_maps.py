"""The weights map that a description of a random pair means, by reasoning about each layer.

Nothing of the package is used here, nor any model: the walk follows where the base's channels stand in the motivated
model, and notes for each weight of each layer its positions on each axis.
"""

import numpy as np
from channel_axes import Axis, NoMap, divided, fixed, fused, joined, reordered, same, unfused
from random_steps import HEAD_SIZE, INPUTS, Steps

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
MOST_WALKS = 8


def intended_map(spec):
    """The base's entries in the motivated model.

    Args:
        spec: A description.

    Returns:
        For each base weight, by role and number, the positions on each axis of the motivated weight of that role and
        number. None if no choice of channels makes the models nest.
    """
    wanted = {}
    for _ in range(MOST_WALKS):
        walk = IntendedMap(spec, wanted)
        try:
            walk.run([fixed(n) for n in INPUTS[spec["input"]]])
        except NoMap:
            if not walk.moved:
                return None
        else:
            if not walk.moved:
                return walk.entries()
    return None


class IntendedMap(Steps):
    """A walk with a list of axes, without that of the batch, in the place of a tensor.

    Args:
        spec: The description.
        wanted: By role and number, places that differ from the first ones; a walk adds to them.

    Attributes:
        moved: Whether the walk asked for other places than it had, so that another walk is due.
        weights: The axes of each weight, by role and number.
    """

    has_new = False  # what is new computes nothing

    def __init__(self, spec, wanted):
        super().__init__(spec)
        self.wanted, self.weights, self.moved = wanted, {}, False

    def entries(self):
        """Positions by role and number; not of layers that the motivated model has alone."""
        found = {key: [axis.places for axis in axes] for key, axes in self.weights.items()}
        return {key: places for key, places in found.items() if all(len(p) for p in places)}

    def own(self, pair):
        return tuple(pair)

    def rank(self, x):
        return len(x) + 1

    def channels(self, x):
        return len(x[-1]), x[-1].size

    def made(self, role, width, number=0):
        """Channels that a layer makes: the first ones, unless others were asked for."""
        key = role, number

        def move(places):
            self.wanted[key], self.moved = places, True
            return True

        return Axis(self.wanted.get(key, np.arange(width[0])), width[1], move)

    def note(self, role, number, *axes):
        """A weight's axes; at the second call of a layer they are the same as before."""
        key = role, number
        self.weights[key] = [same(*pair) for pair in zip(self.weights[key], axes)] if key in self.weights else axes

    def note_bias(self, role, number, *axes):
        if self.spec["bias"]:
            self.note(role, number, *axes)

    # ---- Layers with kernels

    def dense(self, role, x, width, activation=None):
        made = self.made(role, width)
        self.note(role, 0, x[-1], made)
        self.note_bias(role, 1, made)
        return [*x[:-1], made]

    einsum = time_distributed = dense

    def embedding(self, role, x, ids, width):
        made = self.made(role, width)
        self.note(role, 0, fixed(*ids), made)
        return [*x, made]

    def convolution(self, role, x, kind, width):
        made, sides = self.made(role, width), [fixed(3) for _ in x[:-1]]
        if kind == "transposed":
            self.note(role, 0, *sides, made, x[-1])
        elif kind == "conv":
            self.note(role, 0, *sides, x[-1], made)
        else:  # the results of one channel stand side by side
            several = fixed(2 if kind == "multiplied" else 1)
            self.note(role, 0, *sides, x[-1], several)
            self.note(role, 1, *[fixed(1) for _ in x[:-1]], fused([x[-1], several]), made)
        self.note_bias(role, 1 if kind in ("conv", "transposed") else 2, made)
        return [*x[:-1], made]

    def grouped(self, role, x, width, groups):
        """Each group takes channels of its own, all by one axis of the kernel, and makes as many."""
        group, taken = self.in_groups(x[-1], groups)
        made = fused([group, self.made(role, [w // g for w, g in zip(width, groups)])])
        self.note(role, 0, *[fixed(3) for _ in x[:-1]], taken, made)
        self.note_bias(role, 1, made)
        return [*x[:-1], made]

    def in_groups(self, axis, groups):
        return unfused(axis, [groups[0], len(axis) // groups[0]], [groups[1], axis.size // groups[1]])

    def depthwise(self, role, x, multiplier):
        several = fixed(multiplier)
        made = fused([x[-1], several])
        self.note(role, 0, *[fixed(3) for _ in x[:-1]], x[-1], several)
        self.note_bias(role, 1, made)
        return [*x[:-1], made]

    def attention(self, role, x, heads, queries):
        """Heads are the first ones; each takes a kernel (channels, heads, entries)."""
        entries, made, number = fixed(HEAD_SIZE), self.made(role, self.channels(x)), 0
        several = [fixed(queries * heads[0], queries * heads[1]), fixed(*heads), fixed(*heads)]
        for own in several:  # query, key, value
            self.note(role, number, x[-1], own, entries)
            self.note_bias(role, number + 1, own, entries)
            number += 2 if self.spec["bias"] else 1
        self.note(role, number, several[0], entries, made)
        self.note_bias(role, number + 1, made)
        return [*x[:-1], made]

    def recurrent(self, role, x, kind, width, first=0):
        """Kernels (channels, gates * units) and (units, gates * units): each gate has all units side by side."""
        units = self.made(role, width, first)
        gates = fused([fixed(GATES[kind]), units])
        self.note(role, first, x[-1], gates)
        self.note(role, first + 1, units, gates)
        self.note_bias(role, first + 2, *([fixed(2)] if kind == "gru" else []), gates)
        return [*x[:-1], units]

    def bidirectional(self, role, x, kind, width, merge):
        there = self.recurrent(role, x, kind, width)
        back = self.recurrent(role, x, kind, width, first=3 if self.spec["bias"] else 2)
        both = there[-1], back[-1]
        return [*x[:-1], joined(both) if merge == "concat" else same(*both)]

    def stacked(self, role, x, kind, widths):
        for i, width in enumerate(widths):
            x = self.recurrent(role, x, kind, width, first=i * (3 if self.spec["bias"] else 2))
        return x

    # ---- Layers and operations that keep the channels

    def norm(self, role, x, kind, groups):
        if kind == "group" and len(x[-1]) // groups[0] == x[-1].size // groups[1]:  # others nest in no way
            self.in_groups(x[-1], groups)
        for number in range({"batch": 4, "rms": 1}.get(kind, 2)):
            self.note(role, number, x[-1])
        return x

    def prelu(self, role, x):
        self.note(role, 0, *[fixed(1) for _ in x[:-1]], x[-1])
        return x

    def activation(self, role, x, kind):
        return x

    def add(self, role, x, y):
        return [one if other.size == 1 else same(one, other) for one, other in zip(x, y)]

    multiply = add

    def global_pool(self, role, x, kind, keepdims=False):
        return [*[fixed(1) for _ in x[:-1] if keepdims], x[-1]]

    def half_pool(self, role, x, kind):
        return [*[fixed(len(axis) // 2) for axis in x[:-1]], x[-1]]

    def upsample(self, role, x):
        return [*[fixed(2 * len(axis)) for axis in x[:-1]], x[-1]]

    def operation(self, x, kind):
        orders = [np.arange(n) for n in self.channels(x)]
        change = {"flip": np.flip, "roll": lambda order: np.roll(order, 1)}.get(kind, lambda order: order)
        return [*x[:-1], reordered(x[-1], [change(order) for order in orders])]

    # ---- Layers and operations that move the channels

    def concat(self, role, parts):
        return [*parts[0][:-1], joined([part[-1] for part in parts])]

    def split(self, x, count):
        parts = divided(x[-1], *([n // count] * count for n in self.channels(x)))
        return [[*x[:-1], part] for part in parts]

    def take(self, x, count, end):
        lengths = [[n - count, count] if end else [count, n - count] for n in self.channels(x)]
        return [*x[:-1], divided(x[-1], *lengths)[1 if end else 0]]

    def pick(self, x, axis, place):
        return [*x[:axis], *x[len(x) + axis + 1 :]]

    def flatten(self, role, x):
        return [fused(x)]

    def join_positions(self, role, x):
        return [fused(x[:-1]), x[-1]]

    def fold(self, role, x):
        return [*x[:-2], fused(x[-2:])]

    def unfold(self, role, x, factors):
        lengths, sizes = zip(*factors)
        rest = [n // int(np.prod(known)) for n, known in zip(self.channels(x), (lengths, sizes))]
        return [*x[:-1], *unfused(x[-1], [*lengths, rest[0]], [*sizes, rest[1]])]

    def swap_last(self, role, x):
        return [*x[:-2], x[-1], x[-2]]

    permute = swap_last

    def attend(self, query, key, value, size):
        """Scores sum over the entries of a head; heads and the values' entries stay."""
        same(query[-1], key[-1])
        heads = same(same(query[-2], key[-2]), value[-2])
        return [query[0], heads, value[-1]]
