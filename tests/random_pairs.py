"""Random nested pairs, drawn by hypothesis as descriptions from which `random_nets` builds the models.

A description is plain data, so that a failing one can be pasted into a test. On request it has traps: steps after which
no map makes the models nest, or none that the package knows.
"""

import numpy as np
from hypothesis import strategies as st
from random_steps import INPUTS, RECURRENT

WIDTHS = [(2, 2), (2, 3), (3, 3), (3, 4), (2, 4), (4, 4), (4, 6)]
WIDE = 12  # where tensors are wider than this in the base, no step makes them much wider still
MIXES = {
    2: ["dense", "einsum"],
    3: ["conv", "separable", "multiplied", "dense", "einsum", "time_distributed", "rnn", "lstm", "gru"],
    4: ["conv", "separable", "multiplied", "transposed", "dense", "einsum", "time_distributed"],
}
ACTIVATIONS = ["relu", "gelu", "tanh", "silu", "leaky_relu", "prelu"]
NORMS = ["batch", "group", "layer", "rms"]
HEADS = [(1, 1), (2, 2), (1, 2), (2, 3)]
OPERATIONS = ["flip", "roll", "softmax", "mean", "sum", "sin"]


class Shape:
    """What a drawn step sees: the axes before the channels, and the number of channels in both models."""

    def __init__(self, sizes, width):
        self.sizes, self.width = sizes, width
        self.steps = []  # sizes and width behind each step so far

    @property
    def rank(self):
        return len(self.sizes) + 2

    @property
    def halves(self):
        """Whether both models have two halves of channels."""
        return self.width[0] % 2 == self.width[1] % 2 == 0


def _groups(draw, width, any_size=True):
    """Numbers of groups in both models: of one size; or, for convolutions, of one number."""
    fixed = [g for g in (1, 2) if width[0] % g == width[1] % g == 0]
    if any_size and draw(st.booleans()):
        return [draw(st.sampled_from(fixed))] * 2
    size = draw(st.sampled_from(fixed))
    return [width[0] // size, width[1] // size]


@st.composite
def inner_steps(draw, shape, traps):
    """A step that keeps the shape."""
    kinds = ["norm", "norm", "act", "mix", "gate", "twice", "halves"]
    kinds += ["shuffle"] if shape.halves else []
    kinds += ["depthwise", "grouped"] if shape.rank > 2 else []
    kinds += ["attention", "fused_attention", "mixer"] if shape.rank == 3 else []
    kinds += ["operation"] * 2 if traps else []
    op = draw(st.sampled_from(kinds))
    width = list(shape.width)
    if op == "norm":
        kind = draw(st.sampled_from(NORMS))
        return {"op": op, "kind": kind} | ({"groups": _groups(draw, shape.width, traps)} if kind == "group" else {})
    if op == "act":
        return {"op": op, "kind": draw(st.sampled_from(ACTIVATIONS))}
    if op == "gate":
        return {"op": op, "width": list(draw(st.sampled_from(WIDTHS)))}
    if op == "halves":
        return {"op": op, "width": width}
    if op == "depthwise":
        return {"op": op, "multiplier": 1}
    if op == "grouped":
        return {"op": op, "width": width, "groups": _groups(draw, shape.width)}
    if op == "shuffle":
        return {"op": op, "groups": _groups(draw, shape.width)}
    if op == "attention":
        return {"op": op, "heads": list(draw(st.sampled_from(HEADS))), "queries": draw(st.sampled_from([1, 1, 2]))}
    if op == "fused_attention":
        order = draw(st.sampled_from(["parts", "heads", "split"]))
        return {"op": op, "heads": list(draw(st.sampled_from(HEADS))), "order": order}
    if op == "mixer":
        return {"op": op, "positions": shape.sizes[0]}
    if op == "operation":
        return {"op": op, "kind": draw(st.sampled_from(OPERATIONS))}
    return {"op": op, "kind": draw(st.sampled_from(MIXES[shape.rank])), "width": width}


@st.composite
def steps(draw, shape, traps, inline):
    """A step of the main line, which may change the shape."""
    kinds = ["residual"] * 4 + ["mix"] * 3 + ["inner"] * 2
    kinds += ["take"] if min(shape.width) >= 2 else []
    kinds += ["smaller", "unet"] if shape.sizes and all(s % 2 == 0 for s in shape.sizes) else []
    kinds += ["tokens"] if shape.rank == 4 else []
    kinds += ["permute", "bidirectional", "stacked"] if shape.rank == 3 else []
    kinds += ["split"] if shape.halves and min(shape.width) > 2 else []
    earlier = [i for i, (sizes, _) in enumerate(shape.steps) if sizes == shape.sizes]
    if max(shape.width) <= WIDE:
        kinds += ["join"] * 2 + (["skip"] * 2 if earlier else [])
        kinds += ["widen", "fold", "flatten"] if shape.rank > 2 else []
    kinds += ["inline"] * 3 if inline else []
    op = draw(st.sampled_from(kinds))
    if op == "residual":
        branch = draw(st.lists(inner_steps(shape, traps), min_size=1, max_size=3))
        new = draw(st.booleans())
        if new:  # ends in something that can be zero
            kind = draw(st.sampled_from(["dense", *(["conv", "separable"] if shape.rank > 2 else [])]))
            branch = [*branch[:2], {"op": "mix", "kind": kind, "width": list(shape.width)}]
        return {"op": op, "new": new, "branch": branch}
    if op == "inner":
        return draw(inner_steps(shape, traps))
    if op == "inline":
        return {"op": "mix", "new": True, "kind": "dense", "width": list(shape.width)}
    if op == "skip":
        source = draw(st.sampled_from(earlier))
        shape.width = tuple(a + b for a, b in zip(shape.width, shape.steps[source][1]))
        return {"op": op, "from": source, "last": draw(st.booleans())}
    return _reshaping(draw, shape, op)


def _reshaping(draw, shape, op):
    """A step that makes or moves channels."""
    width, last = draw(st.sampled_from(WIDTHS)), draw(st.booleans())
    if op == "mix":
        shape.width = width
        return {"op": op, "kind": draw(st.sampled_from(MIXES[shape.rank])), "width": list(width)}
    if op == "join":
        kind = draw(st.sampled_from(["dense", *(["conv"] if shape.rank > 2 else [])]))
        width = (0, width[1]) if draw(st.booleans()) else width  # the base may lack this part
        shape.width = tuple(a + b for a, b in zip(shape.width, width))
        return {"op": op, "kind": kind, "width": list(width), "last": last}
    if op == "unet":
        shape.width = tuple(a + b for a, b in zip(shape.width, width))
        return {"op": op, "kind": draw(st.sampled_from(["conv", "dense"])), "width": list(width), "last": last}
    if op == "bidirectional":
        merge = draw(st.sampled_from(["concat", "sum"]))
        shape.width = tuple(w * (2 if merge == "concat" else 1) for w in width)
        return {"op": op, "kind": draw(st.sampled_from(RECURRENT)), "width": list(width), "merge": merge}
    if op == "stacked":
        shape.width = draw(st.sampled_from(WIDTHS))
        widths = [list(width), list(shape.width)]
        return {"op": op, "kind": draw(st.sampled_from(RECURRENT)), "widths": widths, "cells": last}
    if op == "smaller":
        shape.sizes = tuple(s // 2 for s in shape.sizes)
        return {"op": op, "kind": draw(st.sampled_from(["Average", "Max"]))}
    if op == "tokens":
        shape.sizes = (int(np.prod(shape.sizes)),)
    elif op == "widen":
        shape.width = tuple(2 * w for w in shape.width)
        return {"op": "depthwise", "multiplier": 2}
    elif op == "take":
        shape.width = (2, 2)
        return {"op": op, "end": last}
    elif op == "split":
        shape.width = tuple(w // 2 for w in shape.width)
    elif op == "fold":
        shape.width = tuple(shape.sizes[-1] * w for w in shape.width)
        shape.sizes = shape.sizes[:-1]
    elif op == "flatten":
        shape.width = tuple(int(np.prod(shape.sizes)) * w for w in shape.width)
        shape.sizes = ()
    else:  # permute: what follows takes another number of positions in each model
        shape.width, shape.sizes = (shape.sizes[0],) * 2, shape.width
    return {"op": op}


STYLES = ["functional", "functional", "backbone", "subclassed"]


@st.composite
def descriptions(draw, traps=False, inline=False, styles=STYLES, bias=True):
    """A pair, in plain data.

    Args:
        draw: Hypothesis's.
        traps: Whether steps may be drawn that no map follows.
        inline: Whether new layers may stand in the way of what the base computes.
        styles: How the models are written.
        bias: Whether kernels may have one.
    """
    kind = draw(st.sampled_from(["image", "image", "vector", "series", "tokens"]))
    spec = {"input": kind, "style": draw(st.sampled_from(styles)), "bias": bias and draw(st.booleans())}
    *sizes, width = INPUTS[kind] if kind != "tokens" else (*INPUTS[kind], 3)
    shape = Shape(tuple(sizes), (width, width))
    body = []
    if draw(st.sampled_from([True, True, True, False])):  # most pairs differ in width from the start
        body.append(_reshaping(draw, shape, "mix"))
        shape.steps.append((shape.sizes, shape.width))
    for _ in range(draw(st.integers(1, 5))):
        body.append(draw(steps(shape, traps, inline)))
        shape.steps.append((shape.sizes, shape.width))
        if body[-1]["op"] == "permute":
            break
    tail = draw(st.sampled_from(["Average", "Average", "Max", "flatten"]))
    if tail == "flatten" or (body[-1]["op"] == "permute" and not traps):  # pools see how many positions there are
        body.append({"op": "flatten"})
    else:
        body.append({"op": "pool", "kind": tail})
    new_layers = any(step.get("new") or (step["op"] == "join" and not step["width"][0]) for step in body)
    spec["named"] = spec["style"] == "subclassed" or new_layers or draw(st.sampled_from([True, True, False]))
    return {**spec, "head": draw(st.sampled_from([None, None, "softmax", "sigmoid"])), "steps": body}
