"""Checks of what a user passes in, made before anything is built or trained."""

import itertools
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation import _keras
from keras_motivation.conditions import Always
from keras_motivation.elementwise import acts_elementwise
from keras_motivation.optimizer_parts import part_of
from keras_motivation.weights_map import WeightsMap

# On a motivated batch: the weight of the base's loss, and of the motivated model's.
MOTIVATED_BATCHES = {"alternate": (0.0, 1.0), "joint": (1.0, 1.0)}


def check_pair(base: keras.Model, motivated: keras.Model) -> None:
    """Raises a `ValueError` if the two models cannot stand in for each other, or share variables."""
    for what in ("inputs", "outputs"):
        ours, theirs = _specs(base, what), _specs(motivated, what)
        if ours is not None and theirs is not None and not _compatible(ours, theirs):
            raise ValueError(
                f"Arguments `base` and `motivated` must have the same {what}. Received: base '{base.name}' with "
                f"{what} {ours}, motivated '{motivated.name}' with {what} {theirs}"
            )
    ids = {id(v) for v in base.variables}
    shared = [v.path for v in motivated.variables if id(v) in ids]
    if shared:
        raise ValueError(
            "Arguments `base` and `motivated` must not share variables: build each with layers of its own (clone a "
            f"shared preprocessing layer). Received two models with the same variable in both: {shared[:5]}"
        )


def check_constraints(weights_map: WeightsMap) -> None:
    """Raises a `ValueError` for constraints that differ between the models, or look at more than single entries.

    Asks them on random values: a constraint may be any function.
    """
    random = np.random.default_rng(0)
    for entry, placement in zip(weights_map.entries, weights_map.placements):
        ours, theirs = entry.base.constraint, entry.motivated.constraint
        if (ours is None and theirs is None) or not entry.base.trainable:
            continue
        values = 3 * random.normal(size=entry.motivated.shape).astype("float32")
        part = ops.convert_to_numpy(placement.take(values))
        if not _alike(_constrained(ours, part), _constrained(theirs, part)):
            raise ValueError(
                "A shared weight must have the same constraint in both models: give its layer the same in both. "
                f"Received: '{entry.base.path}' with {ours} in the base and {theirs} in the motivated model"
            )
        whole, hollow = (_constrained(theirs, v) for v in (values, np.where(placement.mask, 0, values)))
        inner_alike = _alike(placement.take(whole), _constrained(ours, part))
        if not (inner_alike and _alike(*(np.where(placement.mask, 0, found) for found in (whole, hollow)))):
            raise ValueError(
                "A widened weight is stored in two pieces, so its constraint must act on each piece by itself, as "
                "`NonNeg` and clipping do: of a norm, each piece would be projected apart. Leave it out, or keep the "
                f"layer's width. Received: '{entry.base.path}' with {ours}"
            )


def _constrained(constraint: Any, values: np.ndarray) -> np.ndarray:
    tensor = ops.convert_to_tensor(values.copy())  # which a function of the user's may change
    return ops.convert_to_numpy(tensor if constraint is None else constraint(tensor))


def _alike(one: Any, other: Any) -> bool:
    return np.allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), rtol=1e-5, atol=1e-6)


def check_current(weights_map: WeightsMap, known: list[list[Any]]) -> None:
    """Raises a `RuntimeError` if a model has other variables than those it had when the pair was made.

    Args:
        weights_map: The `WeightsMap` of the pair.
        known: The variables that the base and the motivated model had.
    """
    for model, role, before in zip((weights_map.base, weights_map.motivated), ("base", "motivated"), known):
        now = model.variables
        ids, known_ids = {id(v) for v in now}, {id(v) for v in before}
        lost = [v.path for v in before if id(v) not in ids]
        if lost:
            raise RuntimeError(
                f"The {role} model '{model.name}' has been given other variables since the pair was built, which it "
                "would not train. To quantize, save it and quantize the loaded copy. Received a model without "
                f"{lost[:3]}{' and others' if lost[3:] else ''}"
            )
        new = [v.path for v in now if id(v) not in known_ids]
        if new:
            raise RuntimeError(
                f"The {role} model '{model.name}' has got new variables since the pair was built, which the pair does "
                "not know. If layers are built only when they are called, call each model on a batch first (with "
                "`training=True` if some run in training only) and then make the pair; LoRA is to be enabled in both "
                f"models first. Received a model with {new[:3]}{' and others' if new[3:] else ''}"
            )


def check_frozen_alike(weights_map: WeightsMap) -> None:
    """Raises a `ValueError` if a shared weight is frozen in one model and trained in the other."""
    differ = [e for e in weights_map.entries if e.base.trainable != e.motivated.trainable]
    if differ:
        raise ValueError(
            "A shared weight must be trainable in both models or in neither: set `trainable` of the layer alike in "
            "both. Received: "
            + ", ".join(
                f"'{e.base.path}' (base: trainable={e.base.trainable}, motivated: {e.motivated.trainable})"
                for e in differ[:5]
            )
        )


def check_trained(trainable: list[Any], optimizer: Any) -> None:
    """Raises a `ValueError` if an optimizer was built for other variables than those that are to be trained now."""
    if not getattr(optimizer, "built", False):
        return
    known, now = _keras.optimized_variables(optimizer), trainable
    if [id(v) for v in known] == [id(v) for v in now]:
        return
    changes = []
    for what, these, others in (("no longer", known, now), ("newly", now, known)):
        ids = {id(v) for v in others}
        paths = [v.path for v in these if id(v) not in ids]
        changes += [f"{what} trainable: {paths[:5]}{' and others' if paths[5:] else ''}"] if paths else []
    raise ValueError(
        "The optimizer was built for other weights than those that are trainable now: after a change of `trainable`, "
        f"call `compile` again, with a new optimizer. Received: {'; '.join(changes) or 'another order of the weights'}"
    )


def warn_of_nothing_to_train(base: keras.Model, trainable: list[Any], condition: Any) -> None:
    """Warns if batches of the base, or all batches, find nothing to train."""
    if not trainable:
        warnings.warn("Neither model has any trainable weights: training will change nothing.", stacklevel=3)
    elif not base.trainable_variables and not isinstance(condition, Always):
        warnings.warn(
            f"The base '{base.name}' has no trainable weights: its batches will train nothing, and only motivated ones "
            'the extension. To train on every batch, pass `motivation="always"`.',
            stacklevel=3,
        )


def check_not_empty(x: Any) -> None:
    """Raises a `ValueError` if the data are known to hold not a single example. Keras's own errors do not tell."""
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if len(leaves) == 1 and not hasattr(leaves[0], "shape"):  # a data set
        try:
            empty = len(leaves[0]) == 0
        except (TypeError, NotImplementedError):  # of unknown or infinite length, or a generator
            return
    else:
        empty = any(0 in tuple(getattr(leaf, "shape", ()))[:1] for leaf in leaves)
    if empty:
        raise ValueError(no_data(x))


def no_data(x: Any) -> str:
    """What to say of data that hold not a single example."""
    return f"Argument `x` must hold at least one batch. Received an empty {type(x).__name__}."


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises a `ValueError` if a named option is none of its choices."""
    if value not in choices:
        raise ValueError(f"Argument `{name}` must be one of {choices}. Received: {name}={value!r}")


def loss_weights(motivated_batch: Any) -> tuple[float, float]:
    """The weights of the base's and the motivated model's loss on a motivated batch, of what `compile` accepts.

    Args:
        motivated_batch: "alternate", "joint", or the two weights.

    Returns:
        Two finite weights, none negative, not both zero.

    Raises:
        ValueError: If `motivated_batch` is anything else.
    """
    weights: Any = MOTIVATED_BATCHES.get(motivated_batch) if isinstance(motivated_batch, str) else motivated_batch
    try:
        base, motivated = (float(weight) for weight in weights)
        good = min(base, motivated) >= 0 and 0 < base + motivated < float("inf")
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"Argument `motivated_batch` must be one of {tuple(MOTIVATED_BATCHES)}, or two weights of at least 0, of "
            f"the base's and the motivated model's loss. Received: motivated_batch={motivated_batch!r}"
        )
    return base, motivated


def check_optimizer(optimizer: Any, weights_map: WeightsMap) -> None:
    """Raises a `ValueError` for optimizers that would treat a weight otherwise because it is stored in two pieces.

    Warns of those of which it cannot be known.
    """
    pieces = [
        (entry.base, entry.motivated)
        for entry, placement in zip(weights_map.entries, weights_map.placements)
        if not placement.whole and entry.base.trainable
    ]
    asked: list[Any] = []
    for variable in itertools.chain(*pieces):
        part = part_of(optimizer, variable)
        if not any(part is other for other in asked):
            asked.append(part)
            _check_pieces(part)


def _check_pieces(optimizer: Any) -> None:
    steps, clipnorm = optimizer.gradient_accumulation_steps, optimizer.clipnorm
    if steps and clipnorm:
        raise ValueError(
            "Argument `optimizer` must not both accumulate gradients and clip them by weight (`clipnorm`) in a pair "
            "whose motivated model is wider: such a weight is stored in two pieces, of whose accumulated gradients it "
            "would clip each by itself. Use `global_clipnorm` or `clipvalue`. Received: "
            f"gradient_accumulation_steps={steps}, clipnorm={clipnorm}"
        )
    elementwise = acts_elementwise(optimizer)
    if elementwise is None:
        warnings.warn(
            f"The optimizer {type(optimizer).__name__} could not be tried on a weight that is stored in two pieces, as "
            "those are that the motivated model widens. It trains them rightly if it acts on each entry of a weight by "
            "itself (as SGD and Adam do), and not if it looks at the weight's norm or shape. For the trial, its "
            "`get_config` and `from_config` must make a copy of it.",
            stacklevel=4,
        )
    elif not elementwise:
        raise ValueError(
            "Argument `optimizer` must act on each entry of a weight by itself in a pair whose motivated model is "
            f"wider: such a weight is stored in two pieces, and {type(optimizer).__name__} looks at the norm or shape "
            "of each. Use SGD, Adam, AdamW, RMSprop, Lion or the like, at least for the widened weights (by "
            "`keras.optimizers.MultiOptimizer`); or extend the depth only. Received: "
            f"optimizer={type(optimizer).__name__} '{optimizer.name}'"
        )


def check_distribution() -> None:
    """Raises a `ValueError` if a `keras.distribution` is set on a backend where Keras takes no notice of it."""
    distribution = keras.distribution.distribution()
    if distribution is not None and keras.backend.backend() != "jax":
        raise ValueError(
            f"`keras.distribution` works under JAX only; under '{keras.backend.backend()}' Keras would train on one "
            "device all the same. Use `tf.distribute` under TensorFlow and `torch.distributed` under PyTorch; see "
            f"docs/distributed.md. Received: keras.distribution.distribution()={distribution!r}"
        )


def _specs(model: keras.Model, what: str) -> Any:
    """Shapes and dtypes of a model's inputs (dtypes: of outputs only), nested, or `None` where they cannot be known."""
    if what == "inputs":
        tensors = getattr(model, "inputs", None)
        return None if not tensors else [tuple(tensor.shape) for tensor in tensors]
    tensors = _keras.outputs_struct(model)
    try:
        if tensors is None:
            tensors = model.compute_output_spec(keras.KerasTensor(model.get_build_config()["input_shape"]))
        return keras.tree.map_structure(lambda t: (*t.shape, t.dtype), tensors)
    except Exception:  # a subclassed model need not support symbolic calls; the first batch will tell
        return None


def _compatible(ours: Any, theirs: Any) -> bool:
    """Equal, where an unknown dimension goes with any."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_compatible(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(_compatible(a, b) for a, b in zip(ours, theirs))
    return ours is None or theirs is None or ours == theirs
