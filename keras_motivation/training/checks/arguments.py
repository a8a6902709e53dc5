"""Checks of the user's options and data."""

from typing import Any

import keras


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises a `ValueError` if an option is not one of its choices."""
    if value not in choices:
        raise ValueError(f"Argument `{name}` must be one of {choices}. Received: {name}={value!r}")


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
