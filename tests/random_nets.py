"""The two models that a description of a random nested pair stands for.

A description (see `random_pairs`) lists steps; a step has the width of both models and may be "new": the motivated
model has it alone.
Nothing of the package is used here.
"""

import keras
import numpy as np
from keras import layers, ops

CLASSES = 3
VOCABULARY = 7
INPUTS = {"image": (4, 4, 2), "vector": (5,), "series": (4, 3), "tokens": (4,)}
CONVOLUTIONS = {
    4: {"conv": layers.Conv2D, "separable": layers.SeparableConv2D, "transposed": layers.Conv2DTranspose},
    3: {"conv": layers.Conv1D, "separable": layers.SeparableConv1D, "transposed": layers.Conv1DTranspose},
}
RECURRENT = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


class FirstChannelsNorm(layers.Layer):
    """What a layer norm over a widened axis has to be for the pair to nest: it normalises the base's channels alone."""

    def __init__(self, chosen, centre, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.chosen, self.centre, self.epsilon = chosen, centre, epsilon

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), name="beta") if self.centre else None

    def call(self, x):
        inner = ops.take(x, self.chosen, axis=-1)
        if self.centre:
            inner = inner - ops.mean(inner, axis=-1, keepdims=True)
        inner = inner / ops.sqrt(ops.mean(ops.square(inner), axis=-1, keepdims=True) + self.epsilon)
        inner = inner * ops.take(self.gamma, self.chosen)
        inner = inner + ops.take(self.beta, self.chosen) if self.centre else inner
        scatter = np.zeros((len(self.chosen), x.shape[-1]), "float32")
        scatter[np.arange(len(self.chosen)), self.chosen] = 1
        return ops.matmul(inner, ops.cast(scatter, inner.dtype))


class Net:
    """Computes one model of a description, on symbolic tensors or on real ones.

    Args:
        spec: The description.
        size: 0 for the base, 1 for the motivated model.
        chosen: By the role of a layer norm, the base's channels, where the norm shall see these alone.
        made: The layers by role, where they exist already.
    """

    def __init__(self, spec, size, chosen=None, made=None):
        self.spec, self.size, self.chosen = spec, size, chosen or {}
        self.made = {} if made is None else made

    def run(self, x):
        body = self._nested(x) if self.spec["style"] == "backbone" else self.body(x)
        return self.make("head", layers.Dense, CLASSES, activation=self.spec["head"])(body)

    def body(self, x):
        if self.spec["input"] == "tokens":
            x = self.make("embed", layers.Embedding, VOCABULARY + self.size, 3)(x)
        for i, step in enumerate(self.spec["steps"]):
            x = self.step(f"step{i}", step, x)
        return x

    def _nested(self, x):
        inside = keras.Input(x.shape[1:], dtype=x.dtype)
        return keras.Model(inside, self.body(inside), name="backbone")(x)

    def make(self, role, cls, *args, **kwargs):
        """The layer of a role, the same one at each call."""
        if role not in self.made:
            named = {"name": role} if self.spec["named"] else {}
            self.made[role] = cls(*args, **kwargs, **named)
        return self.made[role]

    def step(self, role, step, x):
        if step.get("new") and not self.size:
            return x
        return getattr(self, step["op"])(role, step, x)

    def residual(self, role, step, x):
        y = x
        for i, inner in enumerate(step["branch"]):
            y = self.step(f"{role}_{i}", inner, y)
        return self.make(f"{role}_add", layers.Add)([x, y])

    def mix(self, role, step, x):
        return self.projection(role, step["kind"], step["width"][self.size], x)

    def projection(self, role, kind, width, x, **kwargs):
        rank, bias = len(x.shape), {"use_bias": self.spec["bias"]}
        if kind in RECURRENT:
            return self.make(role, RECURRENT[kind], width, return_sequences=True, **bias)(x)
        if kind == "dense" or (rank == 2 and kind != "einsum"):
            return self.make(role, layers.Dense, width, **bias, **kwargs)(x)
        if kind == "einsum":
            bias = {"bias_axes": "d"} if self.spec["bias"] else {}
            return self.make(role, layers.EinsumDense, "...c,cd->...d", width, **bias)(x)
        return self.make(role, CONVOLUTIONS[rank][kind], width, 3, padding="same", **bias)(x)

    def grouped(self, role, step, x):
        cls = CONVOLUTIONS[len(x.shape)]["conv"]
        width, groups = step["width"][self.size], step["groups"][self.size]
        return self.make(role, cls, width, 3, padding="same", groups=groups, use_bias=self.spec["bias"])(x)

    def depthwise(self, role, step, x):
        cls = layers.DepthwiseConv2D if len(x.shape) == 4 else layers.DepthwiseConv1D
        bias = self.spec["bias"]
        return self.make(role, cls, 3, padding="same", depth_multiplier=step["multiplier"], use_bias=bias)(x)

    def attention(self, role, step, x):
        heads, bias = step["heads"][self.size], self.spec["bias"]
        if step["queries"] == 1:
            return self.make(role, layers.MultiHeadAttention, heads, 2, use_bias=bias)(x, x)
        queries = heads * step["queries"]
        return self.make(role, layers.GroupQueryAttention, 2, queries, heads, use_bias=bias)(x, x)

    def bidirectional(self, role, step, x):
        inner = RECURRENT[step["kind"]](step["width"][self.size], return_sequences=True, name=f"{role}_inner")
        return self.make(role, layers.Bidirectional, inner, merge_mode=step["merge"])(x)

    def norm(self, role, step, x):
        kind = step["kind"]
        if role in self.chosen:
            epsilon = 1e-3 if kind == "layer" else 1e-6
            return self.make(role, FirstChannelsNorm, self.chosen[role], kind == "layer", epsilon)(x)
        if kind == "batch":
            return self.make(role, layers.BatchNormalization, momentum=0.8)(x)
        if kind == "group":
            groups = step["groups"][self.size]
            return self.make(role, layers.GroupNormalization, groups)(x)
        return self.make(role, {"layer": layers.LayerNormalization, "rms": layers.RMSNormalization}[kind])(x)

    def act(self, role, step, x):
        if step["kind"] == "prelu":
            return self.make(role, layers.PReLU, shared_axes=list(range(1, len(x.shape) - 1)) or None)(x)
        return self.make(role, layers.Activation, step["kind"])(x)

    def gate(self, role, step, x):
        """Squeeze and excitation."""
        rank = len(x.shape)
        pools = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D}
        y = self.make(f"{role}_pool", pools[rank], keepdims=True)(x) if rank > 2 else x
        y = self.projection(f"{role}_reduce", "dense", step["width"][self.size], y, activation="silu")
        y = self.projection(f"{role}_expand", "dense", x.shape[-1], y, activation="sigmoid")
        return self.make(f"{role}_multiply", layers.Multiply)([x, y])

    def twice(self, role, step, x):
        """One layer, called twice."""
        for _ in range(2):
            x = self.projection(role, step["kind"], x.shape[-1], x)
        return x

    def join(self, role, step, x):
        y = self.projection(f"{role}_new", step["kind"], step["width"][self.size], x)
        parts = [x, y] if step["last"] else [y, x]
        return self.make(f"{role}_concat", layers.Concatenate)(parts)

    def pool(self, role, step, x):
        kind, rank = step["kind"], len(x.shape)
        if rank == 2:
            return x
        return self.make(role, getattr(layers, f"Global{kind}Pooling{rank - 2}D"))(x)

    def smaller(self, role, step, x):
        return self.make(role, getattr(layers, f"{step['kind']}Pooling{len(x.shape) - 2}D"), 2)(x)

    def flatten(self, role, step, x):
        return self.make(role, layers.Flatten)(x)

    def tokens(self, role, step, x):
        """The pixels in a row: channels stay the last axis."""
        return self.make(role, layers.Reshape, (x.shape[1] * x.shape[2], x.shape[3]))(x)

    def fold(self, role, step, x):
        """The last two axes as one."""
        return self.make(role, layers.Reshape, (*x.shape[1:-2], x.shape[-2] * x.shape[-1]))(x)

    def permute(self, role, step, x):
        """The channels become positions."""
        return self.make(role, layers.Permute, (2, 1))(x)

    def take(self, role, step, x):
        return x[..., -2:] if step["end"] else x[..., :2]

    def operation(self, role, step, x):
        kind = step["kind"]
        if kind == "flip":
            return ops.flip(x, axis=-1)
        if kind == "roll":
            return ops.roll(x, 1, axis=-1)
        if kind == "softmax":
            return ops.softmax(x, axis=-1)
        if kind == "mean":
            return x - ops.mean(x, axis=-1, keepdims=True)
        if kind == "sum":
            return x - ops.sum(x, axis=-1, keepdims=True)
        if kind == "split":
            first, second = ops.split(x, 2, axis=-1)
            return first * second
        return ops.sin(x)


@keras.saving.register_keras_serializable("tests")
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
        return Net(self.spec, self.size, made={role: getattr(self, role) for role in self.roles}).run(x)

    def get_config(self):
        return {**super().get_config(), "spec": self.spec, "size": self.size}


def functional(spec, size, chosen=None):
    """A functional model and its layers by role."""
    net = Net(spec, size, chosen)
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
