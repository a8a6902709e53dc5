"""Conditions that ignore the loss: they train as the stock models do, or are controls of the paper's ablation."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation.conditions.base import PACKAGE, MotivationCondition

LEVELS = np.arange(1000)


@keras.saving.register_keras_serializable(PACKAGE)
class Always(MotivationCondition):
    """Every batch has the highest level, the first too. This trains the largest model as its own `fit` would.

    Examples:
        >>> import keras_motivation as km
        >>> bool(km.Always().motivated)
        True
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(motivated=True, **kwargs)

    def update(self, loss: Any) -> Any:
        return ops.ones_like(loss, dtype="bool")


@keras.saving.register_keras_serializable(PACKAGE)
class Never(MotivationCondition):
    """No batch is motivated. This trains the base as `base.fit` would.

    Examples:
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
        probability: Probability that a batch is motivated, in [0, 1]; then it has the highest level. Or the
            probabilities of the levels 1, 2, ...; the rest is the probability of level 0.
        seed: Integer seed. The draws differ between backends, as all of Keras's random numbers do.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `probability` is not a number in [0, 1], or numbers with a sum in [0, 1].

    Source: paper, section 4.4.1, ablation A.

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.RandomActivation(probability=1.0, seed=0)
        >>> bool(condition.observe(1.0))
        True
    """

    def __init__(self, probability: float | Sequence[float], seed: int | None = None, **kwargs: Any) -> None:
        each: Any = probability if isinstance(probability, (list, tuple)) else [probability]
        good = all(isinstance(p, (int, float)) and not isinstance(p, bool) and 0 <= p <= 1 for p in each)
        if not (good and each and sum(each) <= 1 + 1e-9):
            raise ValueError(
                "Argument `probability` must be a number in [0, 1], or numbers with a sum in [0, 1]. "
                f"Received: probability={probability!r}"
            )
        if seed is None:
            seed = int(np.random.default_rng().integers(2**31))
        limits = [float(sum(each[i:])) for i in range(len(each))]  # below limits[i], the level is i + 1 or higher
        draw = np.random.default_rng(seed).random()
        first = sum(draw < limit for limit in limits)
        self.single = each is not probability
        super().__init__(motivated=bool(first) if self.single else first, **kwargs)
        self.probability = float(each[0]) if self.single else [float(p) for p in each]
        self.limits = limits
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def bind(self, highest: int, *args: Any) -> None:
        if not self.single and len(self.limits) > highest:
            raise ValueError(
                f"Argument `probability` must have at most one number for each of the levels 1 to {highest}. "
                f"Received: probability={self.probability}"
            )
        super().bind(highest, *args)

    def update(self, loss: Any) -> Any:
        draw = keras.random.uniform((), seed=self.seed_generator)
        if self.single:
            return draw < self.limits[0]
        return sum(ops.cast(draw < limit, "int32") for limit in self.limits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "probability": self.probability, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class Schedule(MotivationCondition):
    """The motivated batches are fixed in advance, for example to replay a recorded run.

    Args:
        motivated: For each batch of the training, over all epochs, whether it is motivated, or its level. Batches after
            the end of the list have level 0.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `motivated` is empty, or if not all of its values are booleans or integers of at least 0; in
            `compile`, if there is no such level.

    Source: paper, section 4.4.1, ablation B, with `Schedule.elsewhere`.

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.Schedule([False, True, True])
        >>> [int(condition.level.value), *(int(condition.observe(1.0)) for _ in range(3))]
        [0, 1, 1, 0]
    """

    def __init__(self, motivated: Sequence[int] | np.ndarray, **kwargs: Any) -> None:
        places = np.asarray(motivated)
        if places.ndim != 1 or places.size == 0 or places.dtype.kind not in "biuf" or not np.isin(places, LEVELS).all():
            raise ValueError(
                "Argument `motivated` must be a list of booleans or levels, one for each batch. "
                f"Received: motivated={motivated!r}"
            )
        super().__init__(motivated=int(places[0]), **kwargs)
        self.places = places.astype("int32")
        self.schedule = self.add_weight(  # on the device, like all memory
            shape=self.places.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self.places, dtype="int32"),
            dtype="int32",
            trainable=False,
            autocast=False,
            name="schedule",
        )
        self.batches = self.add_state("batches", 0, dtype="int32")

    def update(self, loss: Any) -> Any:
        batches, last = self.batches.value + 1, len(self.places) - 1
        self.batches.assign(batches)
        place = ops.take(self.schedule.value, ops.minimum(batches, ops.zeros_like(batches) + last))
        return place * ops.cast(batches <= last, "int32")

    def bind(self, highest: int, *args: Any) -> None:
        if self.places.max() > highest:
            raise ValueError(
                f"Argument `motivated` of `Schedule` must have levels from 0 to {highest}. Received: "
                f"{int(self.places.max())}"
            )
        super().bind(highest, *args)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "motivated": self.places.tolist()}

    @classmethod
    def elsewhere(cls, epochs: Sequence[Sequence[bool] | np.ndarray], seed: int, **kwargs: Any) -> "Schedule":
        """Takes the motivated batches of each epoch from a recorded run, at other, random positions (ablation B).

        Args:
            epochs: For each epoch of the recorded run, for each batch, its level, or whether it was motivated.
            seed: Integer seed of the positions.
            **kwargs: `name` and `dtype`.

        Returns:
            The schedule. If more than half of an epoch was motivated, some positions are the same as in the recorded
            run.

        Examples:
            >>> import keras_motivation as km
            >>> schedule = km.Schedule.elsewhere([[True, False, False], [False, True, True]], seed=0)
            >>> bool(schedule.places[0]), int(schedule.places[:3].sum()), int(schedule.places[3:].sum())
            (False, 1, 2)
        """
        random = np.random.default_rng(seed)
        return cls(np.concatenate([_elsewhere(np.asarray(epoch).astype(int), random) for epoch in epochs]), **kwargs)


def _elsewhere(levels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same levels at random places. Places that have level 0 now are used first for the others."""
    motivated = levels > 0
    order = random.permutation(len(levels))
    order = order[np.argsort(motivated[order], kind="stable")]
    places = np.zeros_like(levels)
    places[order[: motivated.sum()]] = levels[motivated]
    return places
