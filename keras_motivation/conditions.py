"""Motivation conditions: from the course of the training loss to "is the next batch motivated?" (paper, 3.1)."""

import operator
import re
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops

PACKAGE = "keras_motivation"


class MotivationCondition(keras.layers.Layer):
    """Decides after each batch whether the next one is motivated. Subclass it to write your own.

    A subclass creates its memory with `add_state` in `__init__` and implements `update(loss)`. The memory survives
    epochs, validation, recompiling with the same condition, and saving. `update` runs inside the compiled training
    step: write it with `keras.ops`, without Python branches on tensors.

    A condition belongs to one pair: two pairs that are compiled with the same instance share its memory.

    The attribute `motivated` is a boolean `keras.Variable` of shape `()`: whether the next batch is motivated.

    Args:
        motivated: Whether the very first batch is motivated. Defaults to `False`.
        **kwargs: `name` and `dtype`, as in `keras.layers.Layer`.

    Source: paper, section 3.1 (the condition), and its summaries (the falling loss).

    Example:

    >>> import keras
    >>> import keras_motivation as km
    >>> @keras.saving.register_keras_serializable("docs")
    ... class EveryNth(km.MotivationCondition):
    ...     def __init__(self, n, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.n = n
    ...         self.count = self.add_state("count", 0, dtype="int32")
    ...
    ...     def update(self, loss):
    ...         self.count.assign(self.count + 1)
    ...         return self.count % self.n == 0
    ...
    ...     def get_config(self):
    ...         return {**super().get_config(), "n": self.n}
    >>> condition = EveryNth(2)
    >>> [bool(condition.observe(1.0)) for _ in range(4)]
    [False, True, False, True]
    """

    def __init__(self, *, motivated: bool = False, **kwargs: Any) -> None:
        kwargs.pop("trainable", None)
        super().__init__(trainable=False, **kwargs)
        self.motivated = self.add_state("motivated", motivated, dtype="bool")

    def add_state(self, name: str, initial: Any, dtype: str | None = None) -> Any:
        """Creates a scalar of memory.

        Args:
            name: Name of the variable.
            initial: Its value before the first batch.
            dtype: Its dtype; `None` means `keras.config.floatx()`, the dtype of losses.

        Returns:
            A non-trainable `keras.Variable` of shape `()`.
        """

        def initializer(shape: Any, dtype: Any = None) -> Any:
            return ops.full(shape, initial, dtype=dtype)

        dtype = dtype or keras.config.floatx()
        return self.add_weight(
            shape=(), initializer=initializer, dtype=dtype, trainable=False, autocast=False, name=name
        )

    def update(self, loss: Any) -> Any:
        """Takes the loss of the batch just trained and returns whether the next one is motivated.

        Args:
            loss: Scalar tensor: the loss that was minimised (mean over the batch, penalties included), of whichever
                model trained.

        Returns:
            Scalar boolean tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `update(loss)`.")

    def observe(self, loss: Any) -> Any:
        """Calls `update` and stores the decision. A NaN or infinite loss never starts or sustains motivation.

        Args:
            loss: Scalar: the batch's loss.

        Returns:
            Scalar boolean tensor: whether the next batch is motivated.
        """
        loss = ops.convert_to_tensor(loss)
        decision = ops.logical_and(ops.isfinite(loss), self.update(loss))
        self.motivated.assign(decision)
        return decision

    def save_own_variables(self, store: Any) -> None:
        """Saves the memory, random seeds included, which Keras leaves out."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = ops.convert_to_numpy(variable.value)

    def load_own_variables(self, store: Any) -> None:
        """Restores the memory. A file without any (of a pair that was not compiled) leaves it as it is, and warns.

        Raises:
            ValueError: If the file holds the memory of another condition; nothing is changed then.
        """
        if not store.keys():
            warnings.warn(f"The file holds no memory of the motivation condition '{self.name}'.", stacklevel=2)
            return
        if len(store.keys()) != len(self.variables):
            raise ValueError(
                f"The file must hold {len(self.variables)} variables for the motivation condition '{self.name}' "
                f"({', '.join(v.name for v in self.variables)}). Received: {len(store.keys())}"
            )
        for i, variable in enumerate(self.variables):
            variable.assign(store[str(i)])


@keras.saving.register_keras_serializable(PACKAGE)
class LossStreak(MotivationCondition):
    """The paper's condition: the next batch is motivated when the loss fell `k` batches in a row.

    Motivation ends with the first batch whose loss does not fall; an equal loss is no fall. Neither a motivated batch
    nor the end of an epoch resets the streak. If successive losses were pure noise, a share of 1/(k+1)! of the batches
    would be motivated: 50 %, 16.7 %, 4.2 % for k = 1, 2, 3.

    Args:
        k: How many falls in a row it takes; at least 1.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `k` is not an integer of at least 1.

    Source: paper, section 3.1, and its summaries.

    Example:

    >>> import keras_motivation as km
    >>> condition = km.LossStreak(k=2)
    >>> [bool(condition.observe(loss)) for loss in [3.0, 2.0, 1.0, 0.5, 0.5]]
    [False, False, True, True, False]
    """

    def __init__(self, k: int = 2, **kwargs: Any) -> None:
        if isinstance(k, bool) or not hasattr(k, "__index__") or operator.index(k) < 1:
            raise ValueError(f"Argument `k` must be an integer of at least 1. Received: k={k!r}")
        super().__init__(**kwargs)
        self.k = operator.index(k)
        self.streak = self.add_state("streak", 0, dtype="int32")
        # NaN compares as "not fallen", so it stands for "no loss to compare with" at the start and after a bad batch.
        self.previous = self.add_state("previous", float("nan"))

    def update(self, loss: Any) -> Any:
        loss = ops.cast(loss, self.previous.dtype)
        fell = loss < self.previous
        self.streak.assign(ops.where(fell, self.streak + 1, 0))
        self.previous.assign(ops.where(ops.isfinite(loss), loss, ops.full_like(loss, float("nan"))))
        return self.streak >= self.k

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


@keras.saving.register_keras_serializable(PACKAGE)
class Always(MotivationCondition):
    """Every batch is motivated, the first too: trains the motivated model as `motivated.fit` would.

    Example:

    >>> import keras_motivation as km
    >>> bool(km.Always().motivated.value)
    True
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(motivated=True, **kwargs)

    def update(self, loss: Any) -> Any:
        return ops.ones_like(loss, dtype="bool")


@keras.saving.register_keras_serializable(PACKAGE)
class Never(MotivationCondition):
    """No batch is motivated: trains the base as `base.fit` would.

    Example:

    >>> import keras_motivation as km
    >>> bool(km.Never().observe(1.0))
    False
    """

    def update(self, loss: Any) -> Any:
        return ops.zeros_like(loss, dtype="bool")


@keras.saving.register_keras_serializable(PACKAGE)
class RandomActivation(MotivationCondition):
    """Each batch is motivated with the same probability, whatever the loss does.

    Args:
        probability: Chance of a batch to be motivated, in [0, 1].
        seed: Integer seed. The draws differ from backend to backend, as all of Keras's random numbers do.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `probability` is not a number in [0, 1].

    Source: paper, section 4.4.1, ablation A.

    Example:

    >>> import keras_motivation as km
    >>> condition = km.RandomActivation(probability=1.0, seed=0)
    >>> bool(condition.observe(1.0))
    True
    """

    def __init__(self, probability: float, seed: int | None = None, **kwargs: Any) -> None:
        if isinstance(probability, bool) or not isinstance(probability, (int, float)) or not 0 <= probability <= 1:
            raise ValueError(
                f"Argument `probability` must be a number in [0, 1]. Received: probability={probability!r}"
            )
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31))
        super().__init__(motivated=bool(np.random.default_rng(seed).random() < probability), **kwargs)
        self.probability = float(probability)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def update(self, loss: Any) -> Any:
        return keras.random.uniform((), seed=self.seed_generator) < self.probability

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "probability": self.probability, "seed": self.seed}


BUILT_IN: dict[str, type[MotivationCondition]] = {
    "loss_streak": LossStreak,
    "always": Always,
    "never": Never,
    "random_activation": RandomActivation,
}


def get(identifier: Any) -> MotivationCondition:
    """Makes a condition of what `compile(motivation=...)` accepts.

    Args:
        identifier: A `MotivationCondition`; a name ("loss_streak", "LossStreak", or the registered name of your own
            class, "package>Class"); or a config from `keras.saving.serialize_keras_object`.

    Returns:
        The condition: the instance itself, or a new one.

    Raises:
        ValueError: If a name is unknown or needs arguments.
        TypeError: If `identifier` is of another type.

    Example:

    >>> import keras_motivation as km
    >>> km.conditions.get("loss_streak").k
    2
    """
    if isinstance(identifier, MotivationCondition):
        return identifier
    if isinstance(identifier, str):
        snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", identifier).lower()
        found = keras.saving.get_registered_object(identifier) or BUILT_IN.get(snake_case)
        if not (isinstance(found, type) and issubclass(found, MotivationCondition)):
            raise ValueError(
                f"Argument `motivation` must name one of {sorted(BUILT_IN)} or a registered `MotivationCondition`. "
                f"Received: motivation={identifier!r}"
            )
        try:
            return found()
        except TypeError as error:
            raise ValueError(
                f"The condition {identifier!r} needs arguments; pass an instance, for example "
                f"`motivation={found.__name__}(...)`. Received: motivation={identifier!r} ({error})"
            ) from error
    condition = keras.saving.deserialize_keras_object(identifier) if isinstance(identifier, dict) else identifier
    if not isinstance(condition, MotivationCondition):
        raise TypeError(
            "Argument `motivation` must be a `MotivationCondition`, the name of one, or its config. "
            f"Received: motivation={identifier!r} (of type {type(identifier).__name__})"
        )
    return condition
