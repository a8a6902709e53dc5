"""Layers in numpy, as Keras defines them."""

import math

import numpy as np

GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2  # without an overflow


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.maximum(x, 0.2 * x),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "tanh": np.tanh,
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "softmax": softmax,
}


def standardised(x, axes, epsilon):
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)


def convolved(x, kernel):
    """A convolution of stride 1 with zeros around: the sum over the places of the kernel."""
    sides = kernel.shape[:-2]
    padded = np.pad(x, [(0, 0), *[(n // 2, n // 2) for n in sides], (0, 0)])
    total = 0
    for place in np.ndindex(sides):
        window = tuple(slice(at, at + length) for at, length in zip(place, x.shape[1:-1]))
        total = total + padded[(slice(None), *window)] @ kernel[place]
    return total


def block_diagonal(kernel):
    """A depthwise kernel (..., channels, multiplier) as that of an ordinary convolution."""
    channels, multiplier = kernel.shape[-2:]
    full = np.zeros((*kernel.shape[:-1], channels, multiplier), kernel.dtype)
    full[..., range(channels), range(channels), :] = kernel
    return full.reshape(*kernel.shape[:-1], channels * multiplier)


def recurrent(x, kind, kernel, own_kernel, bias=0):
    """A recurrent layer's results for all positions. A GRU has two biases, for inputs and for states."""
    own, other = bias if kind == "gru" and np.ndim(bias) else (bias, 0)
    h = c = np.zeros((len(x), own_kernel.shape[0]))
    found = []
    for position in range(x.shape[1]):
        given = np.split(x[:, position] @ kernel + own, GATES[kind], -1)
        kept = np.split(h @ own_kernel + other, GATES[kind], -1)
        if kind == "rnn":
            h = np.tanh(given[0] + kept[0])
        elif kind == "lstm":
            i, f, new, o = (a + b for a, b in zip(given, kept))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
            h = sigmoid(o) * np.tanh(c)
        else:
            z, r = (sigmoid(a + b) for a, b in zip(given[:2], kept[:2]))
            h = z * h + (1 - z) * np.tanh(given[2] + r * kept[2])
        found.append(h)
    return np.stack(found, 1)
