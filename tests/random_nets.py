"""The Keras models that a description of a random nested pair stands for.

A description (see `random_pairs`) lists steps; a step has the width of both models and may be "new": the motivated
model has it alone.
Nothing of the package is used here.
"""

import keras
import numpy as np
from keras import layers, ops
from random_steps import HEAD_SIZE, INPUTS, VOCABULARY, Steps

CONVOLUTIONS = {
    4: {"conv": layers.Conv2D, "separable": layers.SeparableConv2D, "transposed": layers.Conv2DTranspose},
    3: {"conv": layers.Conv1D, "separable": layers.SeparableConv1D, "transposed": layers.Conv1DTranspose},
}
RECURRENT = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}
CELLS = {"rnn": layers.SimpleRNNCell, "lstm": layers.LSTMCell, "gru": layers.GRUCell}
NORMS = {"layer": layers.LayerNormalization, "rms": layers.RMSNormalization}


class KerasNet(Steps):
    """One model of a description, on symbolic tensors or on real ones.

    Args:
        spec: The description.
        size: 0 for the base, 1 for the motivated model.
        made: The layers by role, where they exist already.
    """

    def __init__(self, spec, size, made=None):
        super().__init__(spec)
        self.size, self.has_new = size, bool(size)
        self.made = {} if made is None else made

    def own(self, pair):
        return pair[self.size]

    def rank(self, x):
        return len(x.shape)

    def channels(self, x):
        return x.shape[-1]

    def body(self, x):
        if self.spec["style"] != "backbone":
            return super().body(x)
        inside = keras.Input(x.shape[1:], dtype=x.dtype)
        return keras.Model(inside, super().body(inside), name="backbone")(x)

    def make(self, role, cls, *args, **kwargs):
        """The layer of a role, the same one at each call."""
        if role not in self.made:
            named = {"name": role} if self.spec["named"] else {}
            self.made[role] = cls(*args, **kwargs, **named)
        return self.made[role]

    def kernel(self, role, cls, *args, **kwargs):
        return self.make(role, cls, *args, use_bias=self.spec["bias"], **kwargs)

    # ---- Layers with kernels

    def dense(self, role, x, width, activation=None):
        return self.kernel(role, layers.Dense, width, activation=activation)(x)

    def einsum(self, role, x, width):
        bias = {"bias_axes": "d"} if self.spec["bias"] else {}
        return self.make(role, layers.EinsumDense, "...c,cd->...d", width, **bias)(x)

    def time_distributed(self, role, x, width):
        return self.make(role, layers.TimeDistributed, layers.Dense(width, use_bias=self.spec["bias"]))(x)

    def embedding(self, role, x, ids, width):
        return self.make(role, layers.Embedding, ids, width)(x)

    def convolution(self, role, x, kind, width):
        multiplied = {"depth_multiplier": 2} if kind == "multiplied" else {}
        cls = CONVOLUTIONS[self.rank(x)]["separable" if kind == "multiplied" else kind]
        return self.kernel(role, cls, width, 3, padding="same", **multiplied)(x)

    def grouped(self, role, x, width, groups):
        return self.kernel(role, CONVOLUTIONS[self.rank(x)]["conv"], width, 3, padding="same", groups=groups)(x)

    def depthwise(self, role, x, multiplier):
        cls = layers.DepthwiseConv2D if self.rank(x) == 4 else layers.DepthwiseConv1D
        return self.kernel(role, cls, 3, padding="same", depth_multiplier=multiplier)(x)

    def attention(self, role, x, heads, queries):
        if queries == 1:
            return self.kernel(role, layers.MultiHeadAttention, heads, HEAD_SIZE)(x, x)
        return self.kernel(role, layers.GroupQueryAttention, HEAD_SIZE, heads * queries, heads)(x, x)

    def recurrent(self, role, x, kind, width):
        return self.kernel(role, RECURRENT[kind], width, return_sequences=True)(x)

    def bidirectional(self, role, x, kind, width, merge):
        inner = RECURRENT[kind](width, return_sequences=True, use_bias=self.spec["bias"])
        return self.make(role, layers.Bidirectional, inner, merge_mode=merge)(x)

    def stacked(self, role, x, kind, widths):
        cells = [CELLS[kind](width, use_bias=self.spec["bias"]) for width in widths]
        return self.make(role, layers.RNN, cells, return_sequences=True)(x)

    # ---- Layers and operations that keep the channels

    def norm(self, role, x, kind, groups):
        if kind == "batch":
            return self.make(role, layers.BatchNormalization, momentum=0.8)(x)
        if kind == "group":
            return self.make(role, layers.GroupNormalization, groups)(x)
        return self.make(role, NORMS[kind])(x)

    def prelu(self, role, x):
        return self.make(role, layers.PReLU, shared_axes=list(range(1, self.rank(x) - 1)) or None)(x)

    def activation(self, role, x, kind):
        return self.make(role, layers.Activation, kind)(x)

    def add(self, role, x, y):
        return self.make(role, layers.Add)([x, y])

    def multiply(self, role, x, y):
        return self.make(role, layers.Multiply)([x, y])

    def global_pool(self, role, x, kind, keepdims=False):
        return self.make(role, getattr(layers, f"Global{kind}Pooling{self.rank(x) - 2}D"), keepdims=keepdims)(x)

    def half_pool(self, role, x, kind):
        return self.make(role, getattr(layers, f"{kind}Pooling{self.rank(x) - 2}D"), 2)(x)

    def upsample(self, role, x):
        return self.make(role, getattr(layers, f"UpSampling{self.rank(x) - 2}D"), 2)(x)

    def operation(self, x, kind):
        if kind in ("mean", "sum"):
            return x - getattr(ops, kind)(x, axis=-1, keepdims=True)
        if kind == "roll":
            return ops.roll(x, 1, axis=-1)
        return ops.sin(x) if kind == "sin" else getattr(ops, kind)(x, axis=-1)

    # ---- Layers and operations that move the channels

    def concat(self, role, parts):
        return self.make(role, layers.Concatenate)(parts)

    def split(self, x, count):
        return ops.split(x, count, axis=-1)

    def take(self, x, count, end):
        return x[..., -count:] if end else x[..., :count]

    def pick(self, x, axis, place):
        return x[(..., place, *[slice(None)] * (-1 - axis))]

    def flatten(self, role, x):
        return self.make(role, layers.Flatten)(x)

    def reshaped(self, role, x, *shape):
        return self.make(role, layers.Reshape, shape)(x)

    def join_positions(self, role, x):
        return self.reshaped(role, x, x.shape[1] * x.shape[2], x.shape[3])

    def fold(self, role, x):
        return self.reshaped(role, x, *x.shape[1:-2], x.shape[-2] * x.shape[-1])

    def unfold(self, role, x, factors):
        return self.reshaped(role, x, *x.shape[1:-1], *factors, x.shape[-1] // int(np.prod(factors)))

    def swap_last(self, role, x):
        rank = self.rank(x)
        return self.make(role, layers.Permute, (*range(1, rank - 2), rank - 1, rank - 2))(x)

    def permute(self, role, x):
        return self.make(role, layers.Permute, (2, 1))(x)

    def attend(self, query, key, value, size):
        """On tensors (batch, positions, heads, entries)."""
        query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
        scores = ops.softmax(ops.matmul(query, ops.swapaxes(key, -1, -2)) / size**0.5)
        return ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3))


@keras.saving.register_keras_serializable(__name__)
class Subclassed(keras.Model):
    """The same computation where no graph shows it: layers as attributes, and a `call`."""

    def __init__(self, spec, size, **kwargs):
        super().__init__(**kwargs)
        self.spec, self.size = spec, size
        clones = {}
        for role, layer in functional(spec, size)[1].items():
            clones[role] = type(layer).from_config(layer.get_config())
            setattr(self, role, clones[role])
        self.roles = list(clones)

    def call(self, x):
        return KerasNet(self.spec, self.size, {role: getattr(self, role) for role in self.roles}).run(x)

    def get_config(self):
        return {**super().get_config(), "spec": self.spec, "size": self.size}


def functional(spec, size):
    """A functional model and its layers by role."""
    net = KerasNet(spec, size)
    inputs = keras.Input(INPUTS[spec["input"]], dtype="int32" if spec["input"] == "tokens" else None)
    return keras.Model(inputs, net.run(inputs)), net.made


def build(spec, size):
    """One model of a description, 0 the base and 1 the motivated model, and its layers by role."""
    if spec["style"] != "subclassed":
        return functional(spec, size)
    model = Subclassed(spec, size)
    model(inputs_of(spec, 1, np.random.default_rng(0)))
    return model, {role: getattr(model, role) for role in model.roles}


def inputs_of(spec, count, random):
    """Random inputs of a model."""
    shape = (count, *INPUTS[spec["input"]])
    if spec["input"] == "tokens":
        return random.integers(0, VOCABULARY, shape).astype("int32")
    return random.normal(size=shape).astype(keras.config.floatx())


def by_role(made):
    """Every weight of some layers under a name that is the same in both models."""
    return {(role, i): v for role, layer in made.items() for i, v in enumerate(layer.weights)}
