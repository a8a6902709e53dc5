"""Conditions that decide from the training losses."""

from typing import Any

import keras
from keras import ops

from keras_motivation.conditions.base import PACKAGE, MotivationCondition
from keras_motivation.conditions.common import NO_LOSS, at_least, running_mean


@keras.saving.register_keras_serializable(PACKAGE)
class LossStreak(MotivationCondition):
    """The paper's condition: the next batch is motivated if the loss fell `k` batches in a row.

    With more than two levels, the next batch has level 1 after `k` falls, level 2 after `2 * k`, and so on.

    Motivation ends with the first batch whose loss does not fall. An equal loss does not count as a fall. A motivated
    batch or the end of an epoch does not reset the streak. If successive losses were pure noise, a share of 1/(k+1)! of
    the batches would be motivated: 50 %, 16.7 %, 4.2 % for k = 1, 2, 3.

    Args:
        k: How many falls in a row are needed; at least 1.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If `k` is not an integer of at least 1.

    Source: paper, section 3.1, and its summaries.

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.LossStreak(k=2)
        >>> [int(condition.observe(loss)) for loss in [3.0, 2.0, 1.0, 0.5, 0.5]]
        [0, 0, 1, 1, 0]
    """

    def __init__(self, k: int = 2, **kwargs: Any) -> None:
        k = at_least("k", k, 1)
        super().__init__(**kwargs)
        self.k = k
        self.streak = self.add_state("streak", 0, dtype="int32")
        self.previous = self.add_state("previous", NO_LOSS)

    def update(self, loss: Any) -> Any:
        loss = ops.cast(loss, self.previous.dtype)
        fell = loss < self.previous
        self.streak.assign((self.streak.value + 1) * ops.cast(fell, "int32"))
        self.previous.assign(ops.where(ops.isfinite(loss), loss, ops.zeros_like(loss) + NO_LOSS))
        return self.streak.value // self.k

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


@keras.saving.register_keras_serializable(PACKAGE)
class LossTrend(MotivationCondition):
    """The next batch is motivated while recent losses are below earlier losses.

    The condition compares two running means of the loss, a fast and a slow one. The losses of single batches are mostly
    noise, and `LossStreak` finds falls in them by chance. The means follow the trend, so there are many motivated
    batches in a row, as the paper's "temporary state" suggests.

    Args:
        fast: Span of the fast mean, in batches; at least 1. A new loss has the weight `1 / fast`.
        slow: Span of the slow mean, in batches; more than `fast`.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If the spans are not integers with 1 <= fast < slow.

    Source: ours; the paper's trigger is `LossStreak`.

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.LossTrend(fast=1, slow=4)
        >>> [bool(condition.observe(loss)) for loss in [4.0, 3.0, 3.5, 2.0, 3.9]]
        [False, True, True, True, False]
    """

    def __init__(self, fast: int = 8, slow: int = 64, **kwargs: Any) -> None:
        fast = at_least("fast", fast, 1)
        slow = at_least("slow", slow, fast + 1)
        super().__init__(**kwargs)
        self.fast, self.slow = fast, slow
        self.fast_mean = self.add_state("fast_mean", NO_LOSS)
        self.slow_mean = self.add_state("slow_mean", NO_LOSS)

    def update(self, loss: Any) -> Any:
        loss = ops.cast(loss, self.fast_mean.dtype)
        for mean, span in ((self.fast_mean, self.fast), (self.slow_mean, self.slow)):
            mean.assign(running_mean(mean.value, loss, 1 / span))
        return self.fast_mean < self.slow_mean.value

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "fast": self.fast, "slow": self.slow}


@keras.saving.register_keras_serializable(PACKAGE)
class Between(MotivationCondition):
    """Another condition, used only in a part of the training: for example after a warm-up, or not in the last part.

    Outside of this part, batches have level 0. For parts with other levels, see `Phases`.

    Args:
        condition: The `MotivationCondition` that decides in this part. It receives the losses of all batches.
        start: Number of the first batch, counted from 0 over all epochs, that may be motivated.
        stop: Number of the first batch after this part. From here on no batch is motivated; `None` never stops.
        **kwargs: `name` and `dtype`.

    Raises:
        TypeError: If `condition` is not a condition.
        ValueError: If `start` and `stop` are not integers with 0 <= start < stop.

    Source: ours, after NetAug (arXiv 2110.08890), which stops widening in the second half.

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.Between(km.Always(), start=1, stop=3)
        >>> [int(condition.level.value), *(int(condition.observe(1.0)) for _ in range(4))]
        [0, 1, 1, 0, 0]
    """

    def __init__(self, condition: Any, start: int = 0, stop: int | None = None, **kwargs: Any) -> None:
        if isinstance(condition, dict):  # as `get_config` wrote it
            condition = keras.saving.deserialize_keras_object(condition)
        if not isinstance(condition, MotivationCondition):
            raise TypeError(f"Argument `condition` must be a `MotivationCondition`. Received: condition={condition!r}")
        start = at_least("start", start, 0)
        stop = None if stop is None else at_least("stop", stop, start + 1)
        super().__init__(motivated=condition.first if start == 0 else False, **kwargs)
        self.condition, self.start, self.stop = condition, start, stop
        self.batches = self.add_state("batches", 0, dtype="int32")

    def update(self, loss: Any) -> Any:
        batches = self.batches.value + 1
        self.batches.assign(batches)
        level = self.condition.observe(loss) * ops.cast(batches >= self.start, "int32")
        return level if self.stop is None else level * ops.cast(batches < self.stop, "int32")

    def inner_conditions(self) -> list[MotivationCondition]:
        return [self.condition]

    def get_config(self) -> dict[str, Any]:
        condition = keras.saving.serialize_keras_object(self.condition)
        return {**super().get_config(), "condition": condition, "start": self.start, "stop": self.stop}
