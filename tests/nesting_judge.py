"""Whether a random pair nests under a weights map, found out by hand: nothing of the package is used."""

import keras
import numpy as np
from keras import layers, ops
from random_nets import by_role, functional, inputs_of

SEEDS = range(4)


def error_of(spec, entries):
    """How far the motivated model is from the base, with the base's weights in their places and zeros elsewhere.

    Args:
        spec: A description of `random_pairs`.
        entries: For each mapped base weight, by role and number: the motivated weight, likewise, and its positions on
            each axis.

    Returns:
        The largest difference of the outputs for random weights, as a share of how much they vary from input to input;
        layer norms over a widened axis see the base's channels alone. None if the outputs never vary.
    """
    spec = {**spec, "style": "functional", "named": True, "head": None}
    base, made = functional(spec, 0)
    inner = by_role(made)
    motivated, made = functional(spec, 1)
    chosen = {}
    for (role, _), places in entries.values():
        if isinstance(made[role], (layers.LayerNormalization, layers.RMSNormalization)):
            chosen[role] = places[-1].astype("int32")
    chosen = {role: places for role, places in chosen.items() if len(places) < made[role].weights[0].shape[-1]}
    if chosen:
        motivated, made = functional(spec, 1, chosen)
    outer = by_role(made)
    errors = [_error(spec, (base, inner), (motivated, outer), entries, np.random.default_rng(seed)) for seed in SEEDS]
    return max((error for error in errors if error is not None), default=None)


def _error(spec, base, motivated, entries, random):
    values = {key: draw_weight(variable, random) for key, variable in base[1].items()}
    for key, variable in base[1].items():
        variable.assign(values[key])
    placed = {key: np.full(v.shape, float(v.name == "moving_variance")) for key, v in motivated[1].items()}
    for source, (target, places) in entries.items():
        placed[target][np.ix_(*places)] = values[source]
    for key, variable in motivated[1].items():
        variable.assign(placed[key])
    x = inputs_of(spec, 6, random)
    expected, found = (_outputs(model, x).astype("float64") for model in (base[0], motivated[0]))
    varies = np.abs(expected - expected.mean(axis=0)).max()
    return np.abs(found - expected).max() / varies if varies > 1e-2 * np.abs(expected).max() else None


def _outputs(model, x):
    if keras.backend.backend() == "jax":  # one program is compiled sooner than each operation
        return model.predict_on_batch(x)
    return ops.convert_to_numpy(model(x, training=False))


def draw_weight(variable, random):
    value = random.normal(size=variable.shape)
    if variable.name in ("gamma", "scale", "moving_variance"):
        return 0.5 + np.abs(value)
    if len(variable.shape) < 2:
        return 0.3 * value
    return value * np.sqrt(2 / np.prod(variable.shape[:-1])) if "embed" not in variable.path else value
