"""What the nets of `random_nets` compute, in numpy: without a backend, and so without compiling anything.

Nothing of the package or of Keras is used here; `test_random_pairs` compares it with Keras.
"""

import math

import numpy as np
from numpy_layers import ACTIVATIONS, block_diagonal, convolved, recurrent, standardised
from random_steps import Steps


class NumpyNet(Steps):
    """One model of a description, on arrays.

    Args:
        spec: The description.
        size: 0 for the base, 1 for the motivated model.
        weights: Arrays by role and number.
        chosen: By the role of a layer or RMS norm, the base's channels, where the norm shall see these alone, as it has
            to for the pair to nest.
    """

    def __init__(self, spec, size, weights, chosen=None):
        super().__init__(spec)
        self.size, self.has_new = size, bool(size)
        self.weights, self.chosen = weights, chosen or {}

    def own(self, pair):
        return pair[self.size]

    def rank(self, x):
        return x.ndim

    def channels(self, x):
        return x.shape[-1]

    def weights_of(self, role, first=0, count=3):
        """The weights of a layer; 0 in place of a bias that it lacks."""
        return [self.weights.get((role, first + i), 0) for i in range(count)]

    # ---- Layers with kernels

    def dense(self, role, x, width, activation=None):
        kernel, bias = self.weights_of(role, count=2)
        y = x @ kernel + bias
        return y if activation is None else self.activation(role, y, activation)

    einsum = time_distributed = dense

    def embedding(self, role, x, ids, width):
        return self.weights[role, 0][x]

    def convolution(self, role, x, kind, width):
        if kind in ("conv", "transposed"):
            kernel, bias = self.weights_of(role, count=2)
            if kind == "transposed":  # the gradient of a convolution
                kernel = np.swapaxes(np.flip(kernel, tuple(range(kernel.ndim - 2))), -1, -2)
            return convolved(x, kernel) + bias
        depthwise, pointwise, bias = self.weights_of(role)
        y = convolved(x, block_diagonal(depthwise))
        return y @ pointwise.reshape(pointwise.shape[-2:]) + bias

    def grouped(self, role, x, width, groups):
        kernel, bias = self.weights_of(role, count=2)
        parts = zip(np.split(x, groups, -1), np.split(kernel, groups, -1))
        return np.concatenate([convolved(part, own) for part, own in parts], -1) + bias

    def depthwise(self, role, x, multiplier):
        kernel, bias = self.weights_of(role, count=2)
        return convolved(x, block_diagonal(kernel)) + bias

    def attention(self, role, x, heads, queries):
        step = 2 if self.spec["bias"] else 1  # each kernel is followed by its bias
        (query, *a), (key, *b), (value, *c), (out, *d) = (self.weights_of(role, i * step, step) for i in range(4))
        q, k, v = (np.einsum("btc,chd->bthd", x, w) + sum(bias) for w, bias in ((query, a), (key, b), (value, c)))
        k, v = (np.repeat(y, queries, axis=2) for y in (k, v))
        return np.einsum("bthd,hdc->btc", self.attend(q, k, v, q.shape[-1]), out) + sum(d)

    def recurrent(self, role, x, kind, width):
        return recurrent(x, kind, *self.weights_of(role))

    def bidirectional(self, role, x, kind, width, merge):
        count = 3 if self.spec["bias"] else 2
        there = recurrent(x, kind, *self.weights_of(role, 0, count))
        back = recurrent(x[:, ::-1], kind, *self.weights_of(role, count, count))[:, ::-1]
        return there + back if merge == "sum" else np.concatenate([there, back], -1)

    def stacked(self, role, x, kind, widths):
        count = 3 if self.spec["bias"] else 2
        for i in range(len(widths)):
            x = recurrent(x, kind, *self.weights_of(role, i * count, count))
        return x

    # ---- Layers and operations that keep the channels

    def norm(self, role, x, kind, groups):
        if kind == "batch":
            gamma, beta, mean, variance = self.weights_of(role, count=4)
            return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        scale, offset = self.weights_of(role, count=2)
        if kind == "group":
            grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
            return standardised(grouped, (1, 3), 1e-3).reshape(x.shape) * scale + offset
        seen = self.chosen.get(role, np.arange(x.shape[-1]))
        y = np.zeros_like(x)
        if kind == "layer":
            y[..., seen] = standardised(x[..., seen], -1, 1e-3)
        else:
            y[..., seen] = x[..., seen] / np.sqrt(np.square(x[..., seen]).mean(-1, keepdims=True) + 1e-6)
        return y * scale + offset

    def prelu(self, role, x):
        return np.where(x > 0, x, x * self.weights[role, 0])

    def activation(self, role, x, kind):
        return ACTIVATIONS[kind](x)

    def add(self, role, x, y):
        return x + y

    def multiply(self, role, x, y):
        return x * y

    def global_pool(self, role, x, kind, keepdims=False):
        pool = np.mean if kind == "Average" else np.max
        return pool(x, axis=tuple(range(1, x.ndim - 1)), keepdims=keepdims)

    def half_pool(self, role, x, kind):
        halves = [size for length in x.shape[1:-1] for size in (length // 2, 2)]
        pool = np.mean if kind == "Average" else np.max
        return pool(x.reshape(len(x), *halves, x.shape[-1]), axis=tuple(range(2, 2 * x.ndim - 2, 2)))

    def upsample(self, role, x):
        for axis in range(1, x.ndim - 1):
            x = np.repeat(x, 2, axis)
        return x

    def operation(self, x, kind):
        if kind in ("mean", "sum"):
            return x - getattr(np, kind)(x, axis=-1, keepdims=True)
        if kind == "softmax":
            return ACTIVATIONS[kind](x)
        return {"flip": lambda: np.flip(x, -1), "roll": lambda: np.roll(x, 1, -1), "sin": lambda: np.sin(x)}[kind]()

    # ---- Layers and operations that move the channels

    def concat(self, role, parts):
        return np.concatenate(parts, -1)

    def split(self, x, count):
        return np.split(x, count, -1)

    def take(self, x, count, end):
        return x[..., -count:] if end else x[..., :count]

    def pick(self, x, axis, place):
        return np.take(x, place, axis)

    def flatten(self, role, x):
        return x.reshape(len(x), -1)

    def join_positions(self, role, x):
        return x.reshape(len(x), -1, x.shape[-1])

    def fold(self, role, x):
        return x.reshape(*x.shape[:-2], -1)

    def unfold(self, role, x, factors):
        return x.reshape(*x.shape[:-1], *factors, -1)

    def swap_last(self, role, x):
        return np.swapaxes(x, -1, -2)

    permute = swap_last

    def attend(self, query, key, value, size):
        weights = ACTIVATIONS["softmax"](np.einsum("bthd,bshd->bhts", query, key) / math.sqrt(size))
        return np.einsum("bhts,bshd->bthd", weights, value)
