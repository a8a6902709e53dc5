"""Random nested pairs, drawn by hypothesis as descriptions from which `random_nets` builds the models.

A description is plain data, so that a failing one can be pasted into a test. At a risk, it has steps that move the
channels of a wider tensor: flatten, join, fold, permute, gates, groups.
"""

import numpy as np
from hypothesis import strategies as st
from random_nets import INPUTS, RECURRENT

WIDTHS = [(2, 2), (2, 3), (3, 3), (3, 4), (2, 4), (4, 4), (4, 6)]
MIXES = {
    2: ["dense"],
    3: ["conv", "separable", "dense", "einsum", "rnn", "lstm", "gru"],
    4: ["conv", "separable", "transposed", "dense", "einsum"],
}
ACTIVATIONS = ["relu", "gelu", "tanh", "silu", "leaky_relu", "prelu"]
NORMS = ["batch", "group", "layer", "rms"]


class Shape:
    """What a drawn step sees: the axes before the channels, and the number of channels in both models."""

    def __init__(self, sizes, width):
        self.sizes, self.width = sizes, width

    @property
    def rank(self):
        return len(self.sizes) + 2

    @property
    def grew(self):
        return self.width[0] != self.width[1]


def _groups(draw, width, risky):
    """Numbers of groups of equal size in both models; or, at a risk, any."""
    size = draw(st.sampled_from([s for s in (1, 2) if width[0] % s == width[1] % s == 0]))
    fixed = [g for g in (1, 2) if width[0] % g == width[1] % g == 0]
    if risky and draw(st.booleans()):
        groups = draw(st.sampled_from(fixed))
        return [groups, groups]
    return [width[0] // size, width[1] // size]


@st.composite
def inner_steps(draw, shape, risky):
    """A step that keeps the shape."""
    kinds = ["norm", "norm", "act", "mix", "gate", "twice"]
    kinds += ["depthwise", "grouped"] if shape.rank > 2 else []
    kinds += ["attention"] * 2 if shape.rank == 3 else []
    kinds += ["operation"] if risky else []
    op = draw(st.sampled_from(kinds))
    if op == "norm":
        kind = draw(st.sampled_from(NORMS))
        return {"op": op, "kind": kind} | ({"groups": _groups(draw, shape.width, risky)} if kind == "group" else {})
    if op == "act":
        return {"op": op, "kind": draw(st.sampled_from(ACTIVATIONS))}
    if op == "gate":
        return {"op": op, "width": list(draw(st.sampled_from(WIDTHS)))}
    if op == "depthwise":
        return {"op": op, "multiplier": 1}
    if op == "grouped":
        return {"op": op, "width": list(shape.width), "groups": _groups(draw, shape.width, risky)}
    if op == "attention":
        return {"op": op, "heads": list(draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))), "queries": draw(_ones)}
    if op == "operation":
        return {"op": op, "kind": draw(st.sampled_from(["flip", "roll", "softmax", "mean", "sum", "sin"]))}
    return {"op": op, "kind": _mix_kind(draw, shape, shape.width, risky), "width": list(shape.width)}


_ones = st.sampled_from([1, 1, 2])


def _mix_kind(draw, shape, width, risky):
    gated = risky or width[0] == width[1]  # a wider LSTM or GRU keeps its gates elsewhere
    return draw(st.sampled_from([k for k in MIXES[shape.rank] if gated or k not in ("lstm", "gru")]))


@st.composite
def steps(draw, shape, risky, inline):
    """A step of the main line, which may change the shape."""
    kinds = ["residual"] * 4 + ["mix"] * 3 + ["inner"] * 2
    kinds += ["smaller"] if shape.sizes and all(s % 2 == 0 for s in shape.sizes) else []
    kinds += ["tokens"] if shape.rank == 4 else []
    kinds += ["join"] if risky or shape.width[0] == shape.width[1] else []
    kinds += ["widen"] if shape.rank > 2 else []
    kinds += ["take"] if min(shape.width) >= 2 else []
    if risky:
        kinds += ["fold", "flatten"] if shape.rank > 2 else []
        kinds += ["permute", "bidirectional"] if shape.rank == 3 else []
        kinds += ["split"] if shape.width[0] % 2 == shape.width[1] % 2 == 0 else []
    kinds += ["inline"] * 3 if inline else []
    op = draw(st.sampled_from(kinds))
    if op == "residual":
        branch = draw(st.lists(inner_steps(shape, risky), min_size=1, max_size=3))
        new = draw(st.booleans())
        if new:  # ends in something that can be zero
            kind = draw(st.sampled_from(["dense", *(["conv", "separable"] if shape.rank > 2 else [])]))
            branch = [*branch[:2], {"op": "mix", "kind": kind, "width": list(shape.width)}]
        return {"op": op, "new": new, "branch": branch}
    if op == "mix":
        shape.width = draw(st.sampled_from(WIDTHS))
        return {"op": op, "kind": _mix_kind(draw, shape, shape.width, risky), "width": list(shape.width)}
    if op == "inner":
        return draw(inner_steps(shape, risky))
    if op == "inline":
        return {"op": "mix", "new": True, "kind": "dense", "width": list(shape.width)}
    if op == "smaller":
        shape.sizes = tuple(s // 2 for s in shape.sizes)
        return {"op": op, "kind": draw(st.sampled_from(["Average", "Max"]))}
    if op == "tokens":
        shape.sizes = (int(np.prod(shape.sizes)),)
        return {"op": op}
    if op == "widen":
        shape.width = tuple(2 * w for w in shape.width)
        return {"op": "depthwise", "multiplier": 2}
    if op == "take":
        end = risky and draw(st.booleans())
        shape.width = (2, 2)
        return {"op": op, "end": end}
    if op == "split":
        shape.width = tuple(w // 2 for w in shape.width)
        return {"op": "operation", "kind": "split"}
    if op == "join":
        return _join(draw, shape, risky)
    if op == "bidirectional":
        merge = draw(st.sampled_from(["concat", "sum"]))
        width = draw(st.sampled_from(WIDTHS))
        shape.width = tuple(w * (2 if merge == "concat" else 1) for w in width)
        return {"op": op, "kind": draw(st.sampled_from(list(RECURRENT))), "width": list(width), "merge": merge}
    if op == "fold":
        shape.width = tuple(shape.sizes[-1] * w for w in shape.width)
        shape.sizes = shape.sizes[:-1]
    elif op == "flatten":
        shape.width = tuple(int(np.prod(shape.sizes)) * w for w in shape.width)
        shape.sizes = ()
    else:  # permute: what follows takes another number of positions in each model
        shape.width, shape.sizes = (shape.sizes[0],) * 2, shape.width
        shape.odd = True
    return {"op": op}


def _join(draw, shape, risky):
    kind = draw(st.sampled_from(["dense", *(["conv"] if shape.rank > 2 else [])]))
    grown = draw(st.sampled_from(WIDTHS))
    new, last = (draw(st.booleans()), draw(st.booleans())) if risky else (False, True)
    given = (0, grown[1]) if new else grown
    shape.width = tuple(a + b for a, b in zip(shape.width, given))
    return {"op": "join", "kind": kind, "width": list(grown), "last": last, "new": new}


STYLES = ["functional", "functional", "backbone", "subclassed"]


@st.composite
def descriptions(draw, risky=False, inline=False, styles=STYLES, bias=True):
    """A pair, in plain data.

    Args:
        draw: Hypothesis's.
        risky: Whether steps may be drawn that move the channels of a wider tensor.
        inline: Whether new layers may stand in the way of what the base computes.
        styles: How the models are written.
        bias: Whether kernels may have one.
    """
    kind = draw(st.sampled_from(["image", "image", "vector", "series", "tokens"]))
    spec = {"input": kind, "style": draw(st.sampled_from(styles)), "named": True, "bias": bias and draw(st.booleans())}
    *sizes, width = INPUTS[kind] if kind != "tokens" else (*INPUTS[kind], 3)
    shape = Shape(tuple(sizes), (width, width))
    body = []
    if draw(st.sampled_from([True, True, True, False])):  # most pairs differ in width from the start
        shape.width = draw(st.sampled_from(WIDTHS))
        body += [{"op": "mix", "kind": _mix_kind(draw, shape, shape.width, False), "width": list(shape.width)}]
    for _ in range(draw(st.integers(1, 5))):
        body.append(draw(steps(shape, risky, inline)))
        if hasattr(shape, "odd"):
            break
    tails = ["Average", "Average", "Max", *(["flatten"] if risky and shape.rank > 2 else [])]
    tail = draw(st.sampled_from(tails))
    body.append({"op": "flatten"} if tail == "flatten" else {"op": "pool", "kind": tail})
    new_layers = any(step.get("new") for step in body)
    spec["named"] = spec["style"] == "subclassed" or new_layers or draw(st.sampled_from([True, True, False]))
    return {**spec, "head": draw(st.sampled_from([None, None, "softmax", "sigmoid"])), "steps": body}
