"""What the steps of a random pair's description are made of, in terms of layers and operations.

Three classes walk through the steps and say what a layer does: `random_nets` builds it with Keras, `numpy_nets`
computes it with numpy, and `intended_maps` follows where the base's channels stand.
Nothing of the package is used here.
"""

CLASSES = 3
VOCABULARY = 7
INPUTS = {"image": (4, 4, 2), "vector": (5,), "series": (4, 3), "tokens": (4,)}
RECURRENT = ("rnn", "lstm", "gru")
CONVOLUTIONS = ("conv", "separable", "multiplied", "transposed")
HEAD_SIZE = 2


class Steps:
    """A walk through a description (see `random_pairs`). What a width or a tensor is depends on who walks.

    Args:
        spec: The description.
    """

    has_new = True  # whether the walk has the steps that are new in the motivated model

    def __init__(self, spec):
        self.spec = spec

    def own(self, pair):
        """Of the numbers in the base and in the motivated model, what the walk takes."""
        raise NotImplementedError

    def run(self, x):
        return self.dense("head", self.body(x), self.own((CLASSES, CLASSES)), self.spec["head"])

    def body(self, x):
        if self.spec["input"] == "tokens":
            x = self.embedding("embed", x, self.own((VOCABULARY, VOCABULARY + 1)), self.own((3, 3)))
        results = []
        for i, step in enumerate(self.spec["steps"]):
            if step["op"] == "skip":  # a tensor from before, as in a DenseNet
                x = self.concat(f"step{i}", [x, results[step["from"]]][:: 1 if step["last"] else -1])
            else:
                x = self.step(f"step{i}", step, x)
            results.append(x)
        return x

    def step(self, role, step, x):
        if step.get("new") and not self.has_new:
            return x
        return getattr(self, f"{step['op']}_step")(role, step, x)

    def projection(self, role, kind, x, width):
        """A layer that makes channels out of others."""
        if kind in RECURRENT:
            return self.recurrent(role, x, kind, width)
        if kind in CONVOLUTIONS:
            return self.convolution(role, x, kind, width)
        return getattr(self, kind)(role, x, width)

    # ---- Steps that keep the shape

    def mix_step(self, role, step, x):
        return self.projection(role, step["kind"], x, self.own(step["width"]))

    def residual_step(self, role, step, x):
        y = x
        for i, inner in enumerate(step["branch"]):
            y = self.step(f"{role}_{i}", inner, y)
        return self.add(f"{role}_add", x, y)

    def norm_step(self, role, step, x):
        return self.norm(role, x, step["kind"], self.own(step.get("groups", (1, 1))))

    def act_step(self, role, step, x):
        return self.prelu(role, x) if step["kind"] == "prelu" else self.activation(role, x, step["kind"])

    def gate_step(self, role, step, x):
        """Squeeze and excitation."""
        y = self.global_pool(f"{role}_pool", x, "Average", keepdims=True) if self.rank(x) > 2 else x
        y = self.dense(f"{role}_reduce", y, self.own(step["width"]), "silu")
        y = self.dense(f"{role}_expand", y, self.channels(x), "sigmoid")
        return self.multiply(f"{role}_multiply", x, y)

    def twice_step(self, role, step, x):
        """One layer, called twice."""
        for _ in range(2):
            x = self.projection(role, step["kind"], x, self.channels(x))
        return x

    def halves_step(self, role, step, x):
        """A gated linear unit: one half of a projection times the other."""
        y = self.dense(f"{role}_both", x, self.own([2 * w for w in step["width"]]))
        return self.multiply(f"{role}_multiply", *self.split(y, 2))

    def depthwise_step(self, role, step, x):
        return self.depthwise(role, x, step["multiplier"])

    def grouped_step(self, role, step, x):
        return self.grouped(role, x, self.own(step["width"]), self.own(step["groups"]))

    def shuffle_step(self, role, step, x):
        """The channels of groups by turns, as in a ShuffleNet."""
        groups = self.own(step["groups"])
        y = self.swap_last(f"{role}_swap", self.unfold(f"{role}_unfold", x, [groups]))
        return self.fold(f"{role}_fold", y)

    def attention_step(self, role, step, x):
        return self.attention(role, x, self.own(step["heads"]), step["queries"])

    def fused_attention_step(self, role, step, x):
        """Query, key and value from one kernel, taken apart by operations."""
        heads, size = step["heads"], (HEAD_SIZE, HEAD_SIZE)
        y = self.dense(f"{role}_qkv", x, self.own([3 * HEAD_SIZE * h for h in heads]))
        if step["order"] == "split":
            parts = [self.unfold(f"{role}_{i}", part, [self.own(heads)]) for i, part in enumerate(self.split(y, 3))]
        else:  # which of both varies slowest
            first, second = (heads, (3, 3)) if step["order"] == "heads" else ((3, 3), heads)
            y = self.unfold(f"{role}_unfold", y, [self.own(first), self.own(second)])
            parts = [self.pick(y, -2 if step["order"] == "heads" else -3, i) for i in range(3)]
        y = self.attend(*parts, size[0])
        return self.dense(f"{role}_out", self.fold(f"{role}_fold", y), self.channels(x))

    def mixer_step(self, role, step, x):
        """Dense layers over positions, as in an MLP-Mixer."""
        y = self.permute(f"{role}_there", x)
        y = self.dense(f"{role}_hidden", y, self.own((3, 3)), "gelu")
        y = self.dense(f"{role}_positions", y, self.own((step["positions"],) * 2))
        return self.add(f"{role}_add", x, self.permute(f"{role}_back", y))

    def operation_step(self, role, step, x):
        return self.operation(x, step["kind"])

    # ---- Steps that change the shape

    def join_step(self, role, step, x):
        width = self.own(step["width"])
        if not width:  # the base has no such part
            return x
        y = self.projection(f"{role}_part", step["kind"], x, width)
        return self.concat(f"{role}_concat", [x, y] if step["last"] else [y, x])

    def unet_step(self, role, step, x):
        """Down, a convolution, up again, and joined with what it was before."""
        y = self.half_pool(f"{role}_down", x, "Max")
        y = self.projection(f"{role}_deep", step["kind"], y, self.own(step["width"]))
        y = self.upsample(f"{role}_up", self.activation(f"{role}_act", y, "silu"))
        return self.concat(f"{role}_concat", [x, y] if step["last"] else [y, x])

    def bidirectional_step(self, role, step, x):
        return self.bidirectional(role, x, step["kind"], self.own(step["width"]), step["merge"])

    def stacked_step(self, role, step, x):
        """Two recurrent cells in one layer, or two layers."""
        widths = [self.own(width) for width in step["widths"]]
        if step["cells"]:
            return self.stacked(role, x, step["kind"], widths)
        for i, width in enumerate(widths):
            x = self.recurrent(f"{role}_{i}", x, step["kind"], width)
        return x

    def pool_step(self, role, step, x):
        return x if self.rank(x) == 2 else self.global_pool(role, x, step["kind"])

    def smaller_step(self, role, step, x):
        return self.half_pool(role, x, step["kind"])

    def flatten_step(self, role, step, x):
        return self.flatten(role, x)

    def tokens_step(self, role, step, x):
        """The pixels in a row."""
        return self.join_positions(role, x)

    def fold_step(self, role, step, x):
        """The last two axes as one."""
        return self.fold(role, x)

    def permute_step(self, role, step, x):
        """The channels become positions."""
        return self.permute(role, x)

    def take_step(self, role, step, x):
        return self.take(x, 2, step["end"])

    def split_step(self, role, step, x):
        return self.multiply(f"{role}_multiply", *self.split(x, 2))
