"""Random models made of stages of equal blocks, as loops without names make them; and the same with names.

A description is plain data, so that a failing one can be pasted into a test. Nothing of the package is used here.
"""

import keras
from hypothesis import strategies as st
from keras import layers

SHAPES = {"vector": (5,), "series": (6, 3), "image": (4, 4, 3)}
MIXES = {"vector": ["dense"], "series": ["dense", "conv", "attention"], "image": ["dense", "conv", "depthwise"]}
CONVOLUTIONS = {"series": (layers.Conv1D, layers.DepthwiseConv1D), "image": (layers.Conv2D, layers.DepthwiseConv2D)}


@st.composite
def bodies(draw, shape):
    """The steps of one block: a row of layers, each with its activation."""
    row = []
    for _ in range(draw(st.integers(1, 4))):
        op = draw(st.sampled_from([*MIXES[shape], "norm", "act", "outer", "inner", "dropout"]))
        row.append((op, draw(st.sampled_from([None, "relu", "gelu"]))))
    if all(op in ("act", "outer", "dropout") for op, _ in row):  # a block without weights would be none
        row.append(("dense", None))
    return row


@st.composite
def stages(draw, shape):
    """A stage: how often each model has its block, and what is special about the first or the last one."""
    around = draw(st.sampled_from(["none", "add", "add", "swapped", "relu", "norm"]))
    count = draw(st.integers(1, 3))
    return {
        "body": draw(bodies(shape)),
        "around": around,
        "counts": (count, count + draw(st.integers(0, 2))),
        "widths": draw(st.sampled_from([(2, 2), (2, 3), (3, 3), (4, 4), (4, 6)])),
        "special": draw(st.sampled_from(["before", "before", "first", "last"])),
    }


@st.composite
def descriptions(draw):
    """A whole pair of models, of which the motivated one is deeper in at least one stage."""
    shape = draw(st.sampled_from(sorted(SHAPES)))
    found = draw(st.lists(stages(shape), min_size=1, max_size=3))
    if all(stage["counts"][0] == stage["counts"][1] for stage in found):
        found[0]["counts"] = (found[0]["counts"][0], found[0]["counts"][1] + 1)
    return {"shape": shape, "stages": found, "outer": draw(st.booleans())}


class Builder:
    """Builds one model of a description, 0 the base and 1 the motivated model."""

    def __init__(self, spec, size, named):
        self.spec, self.size, self.named, self.role = spec, size, named, ""

    def model(self):
        shape = self.spec["shape"]
        inputs = keras.Input(SHAPES[shape])
        x = inputs
        for i, stage in enumerate(self.spec["stages"]):
            x = self.stage(f"stage{i}", stage, x)
        x = getattr(layers, f"GlobalAveragePooling{len(inputs.shape) - 2}D")()(x) if shape != "vector" else x
        self.role = "head"
        return keras.Model(inputs, self.make(layers.Dense, 3, activation="softmax")(x))

    def make(self, cls, *args, **kwargs):
        """A layer; named by its place in the model, if at all."""
        self.role += "_"
        return cls(*args, **kwargs, **({"name": self.role} if self.named else {}))

    def stage(self, role, stage, x):
        width, count = stage["widths"][self.size], stage["counts"][self.size]
        self.role = f"{role}_enter"
        x = self.make(layers.Dense, width, activation="tanh")(x)
        outer = x
        for i in range(count):
            at_edge = {"first": i == 0, "last": i == count - 1}.get(stage["special"], False)
            # Without a way around it, a special block is an equal block and a layer more.
            self.role = f"{role}_special" if at_edge and stage["around"] != "none" else f"{role}_block{i}"
            x = self.block(stage, x, outer, width, f"{role}_special" if at_edge else None)
        return x

    def block(self, stage, x, outer, width, special):
        y = x
        for op, activation in stage["body"]:
            y = self.step(op, activation, y, outer, width)
        if special is not None:
            self.role = f"{special}_more"
            y = self.make(layers.Dense, width, activation="sigmoid")(y)
        around = stage["around"]
        if around == "none":
            return y
        y = layers.Add()([y, x] if around == "swapped" else [x, y])
        if around == "norm":
            return self.make(layers.LayerNormalization)(y)
        return layers.ReLU()(y) if around == "relu" else y

    def step(self, op, activation, y, outer, width):
        if op == "act":
            return layers.Activation(activation or "silu")(y)
        if op == "dropout":
            return layers.Dropout(0.1)(y)
        if op == "outer":
            return y * outer
        if op == "inner":
            return y + self.make(layers.Dense, width, activation=activation)(y)
        if op == "norm":
            return self.make(layers.BatchNormalization)(y)
        if op == "attention":
            return self.make(layers.MultiHeadAttention, 1, 2)(y, y)
        if op == "dense":
            return self.make(layers.Dense, width, activation=activation)(y)
        convolution, depthwise = CONVOLUTIONS[self.spec["shape"]]
        if op == "depthwise":
            return self.make(depthwise, 3, padding="same", activation=activation)(y)
        return self.make(convolution, width, 3, padding="same", activation=activation)(y)
