"""Whether a random pair nests under a weights map, found out by hand: nothing of the package is used."""

import numpy as np
from numpy_nets import NumpyNet
from random_nets import inputs_of

SEEDS = range(4)


def error_of(spec, inner, outer, entries):
    """How far the motivated model is from the base, with the base's weights in their places and zeros elsewhere.

    Args:
        spec: A description of `random_pairs`.
        inner: The base's weights by role and number.
        outer: The motivated model's weights likewise.
        entries: For each base weight, by role and number, its positions on each axis of the motivated weight of that
            role and number.

    Returns:
        The largest difference of the outputs for random weights, as a share of how much they vary from input to input;
        layer norms over a widened axis see the base's channels alone. None if the outputs never vary.
    """
    spec = {**spec, "head": None}
    errors = [_error(spec, inner, outer, entries, np.random.default_rng(seed)) for seed in SEEDS]
    return max((error for error in errors if error is not None), default=None)


def _error(spec, inner, outer, entries, random):
    values = {key: draw_weight(variable, random) for key, variable in inner.items()}
    placed = {key: np.full(v.shape, float(v.name == "moving_variance")) for key, v in outer.items()}
    for key, places in entries.items():
        placed[key][np.ix_(*places)] = values[key]
    seen = {role: places[-1] for (role, _), places in entries.items()}  # of norms, the base's channels
    x = inputs_of(spec, 6, random)
    expected = NumpyNet(spec, 0, values).run(x)
    found = NumpyNet(spec, 1, placed, seen).run(x)
    varies = np.abs(expected - expected.mean(axis=0)).max()
    return np.abs(found - expected).max() / varies if varies > 1e-2 * np.abs(expected).max() else None


def draw_weight(variable, random):
    value = random.normal(size=variable.shape)
    if variable.name in ("gamma", "scale", "moving_variance"):
        return 0.5 + np.abs(value)
    if len(variable.shape) < 2:
        return 0.3 * value
    return value * np.sqrt(2 / np.prod(variable.shape[:-1])) if "embed" not in variable.path else value
