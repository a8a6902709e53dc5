"""Checks of the user's options and data."""

from typing import Any

import keras

# Weights of the base's loss and of the motivated model's loss on a motivated batch.
MOTIVATED_BATCHES = {"alternate": (0.0, 1.0), "joint": (1.0, 1.0)}


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises a `ValueError` if an option is not one of its choices."""
    if value not in choices:
        raise ValueError(f"Argument `{name}` must be one of {choices}. Received: {name}={value!r}")


def loss_weights(motivated_batch: Any) -> tuple[float, float]:
    """The weights of the base's and the motivated model's loss on a motivated batch, from an argument of `compile`.

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


def check_not_empty(x: Any) -> None:
    """Raises a `ValueError` if it is known that the data have no example. Keras's own errors do not say this."""
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if len(leaves) == 1 and not hasattr(leaves[0], "shape"):  # a data set
        try:
            empty = len(leaves[0]) == 0
        except (TypeError, NotImplementedError):  # a generator, or unknown or infinite length
            return
    else:
        empty = any(0 in tuple(getattr(leaf, "shape", ()))[:1] for leaf in leaves)
    if empty:
        raise ValueError(no_data(x))


def no_data(x: Any) -> str:
    """The error message for data without any example."""
    return f"Argument `x` must hold at least one batch. Received an empty {type(x).__name__}."


def check_distribution() -> None:
    """Raises a `ValueError` if a `keras.distribution` is set on a backend where Keras ignores it."""
    distribution = keras.distribution.distribution()
    if distribution is not None and keras.backend.backend() != "jax":
        raise ValueError(
            f"`keras.distribution` works under JAX only; under '{keras.backend.backend()}' Keras would still train "
            "on one device. Use `tf.distribute` under TensorFlow and `torch.distributed` under PyTorch; see "
            f"docs/distributed.md. Received: keras.distribution.distribution()={distribution!r}"
        )
