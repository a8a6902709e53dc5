"""Conditions that ignore the loss: they train as the stock models do, or are controls of the paper's ablation."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation.conditions.base import PACKAGE, MotivationCondition


@keras.saving.register_keras_serializable(PACKAGE)
class Always(MotivationCondition):
    """Every batch is motivated, the first too. This trains the motivated model as `motivated.fit` would.

    Examples:
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
        probability: Probability that a batch is motivated, in [0, 1].
        seed: Integer seed. The draws differ between backends, as all of Keras's random numbers do.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `probability` is not a number in [0, 1].

    Source: paper, section 4.4.1, ablation A.

    Examples:
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


@keras.saving.register_keras_serializable(PACKAGE)
class Schedule(MotivationCondition):
    """The motivated batches are fixed in advance, for example to replay a recorded run.

    Args:
        motivated: For each batch of the training, over all epochs, whether it is motivated. Batches after the end of
            the list are not motivated.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `motivated` is empty, or if not all of its values are booleans (or 0 and 1).

    Source: paper, section 4.4.1, ablation B, with `Schedule.elsewhere`.

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.Schedule([False, True, True])
        >>> [bool(condition.motivated.value), *(bool(condition.observe(1.0)) for _ in range(3))]
        [False, True, True, False]
    """

    def __init__(self, motivated: Sequence[bool] | np.ndarray, **kwargs: Any) -> None:
        places = np.asarray(motivated)
        if places.ndim != 1 or places.size == 0 or not np.isin(places, (0, 1)).all():
            raise ValueError(
                "Argument `motivated` must be a list of booleans, one for each batch. "
                f"Received: motivated={motivated!r}"
            )
        super().__init__(motivated=bool(places[0]), **kwargs)
        self.places = places.astype("bool")
        self.schedule = self.add_weight(  # on the device, like all memory
            shape=self.places.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self.places, dtype="bool"),
            dtype="bool",
            trainable=False,
            autocast=False,
            name="schedule",
        )
        self.batches = self.add_state("batches", 0, dtype="int32")

    def update(self, loss: Any) -> Any:
        batches, last = self.batches.value + 1, len(self.places) - 1
        self.batches.assign(batches)
        place = ops.take(self.schedule.value, ops.minimum(batches, ops.zeros_like(batches) + last))
        return ops.logical_and(place, batches <= last)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "motivated": self.places.astype(int).tolist()}

    @classmethod
    def elsewhere(cls, epochs: Sequence[Sequence[bool] | np.ndarray], seed: int, **kwargs: Any) -> "Schedule":
        """Takes the number of motivated batches per epoch from a recorded run, at other, random positions (ablation B).

        Args:
            epochs: For each epoch of the recorded run, for each batch, whether it was motivated.
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
        return cls(np.concatenate([_elsewhere(np.asarray(epoch, bool), random) for epoch in epochs]), **kwargs)


def _elsewhere(motivated: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same number of true values at random places. Places that are false now are used first."""
    order = random.permutation(len(motivated))
    order = order[np.argsort(motivated[order], kind="stable")]
    places = np.zeros(len(motivated), bool)
    places[order[: motivated.sum()]] = True
    return places
