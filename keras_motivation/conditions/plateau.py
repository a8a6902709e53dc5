"""A condition that starts spells of motivated batches by itself: when the loss no longer falls as fast as it did."""

from typing import Any

import keras
from keras import ops

from keras_motivation.conditions.base import PACKAGE, MotivationCondition
from keras_motivation.conditions.common import NO_LOSS, at_least, running_mean, share_of_one


@keras.saving.register_keras_serializable(PACKAGE)
class LossPlateau(MotivationCondition):
    """A spell of motivated batches begins when the loss falls more slowly than it did: the base has learnt what it can.

    The speed is the difference of two running means of the loss, a slow and a fast one. It is compared with the largest
    speed since the last change. A spell ends in the same way, at a lower share: when the larger model has stopped
    learning as well. After each change, the means start again, and there is no other change for `shortest` batches.

    Args:
        share: A spell begins when the speed is below this share of the largest speed since the last change, in (0, 1).
        end: A spell ends when the speed is below this share of the largest speed in the spell, in (0, 1); 0 never ends
            a spell, so that the training has at most one. A value below `share` avoids fast changes to and fro.
        fast: Span of the fast mean, in batches.
        slow: Span of the slow mean, in batches; more than `fast`. With short spans, noise may begin or end a spell.
        shortest: Shortest time between two changes, in batches; at least `slow`, which is the default.
        longest: Longest spell, in batches; `None` sets no limit.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If an argument is out of its range.

    Source: ours, after the rules by which growing networks grow (AutoGrow, arXiv 1906.02909; Staged Training, arXiv
    2203.06211).

    Examples:
        >>> import keras_motivation as km
        >>> condition = km.LossPlateau(share=0.5, fast=1, slow=2, end=0)
        >>> losses = [8.0, 7.0, 6.0, 5.0, 4.5, 4.3, 4.2, 4.1]  # first falls by 1 in each batch
        >>> [int(condition.observe(loss)) for loss in losses]
        [0, 0, 0, 0, 0, 0, 1, 1]
    """

    paced = False

    def __init__(
        self,
        share: float = 0.2,
        end: float = 0.1,
        fast: int = 16,
        slow: int = 128,
        shortest: int | None = None,
        longest: int | None = None,
        **kwargs: Any,
    ) -> None:
        share = share_of_one("share", share)
        end = 0.0 if end == 0 and not isinstance(end, bool) else share_of_one("end", end)
        fast = at_least("fast", fast, 1)
        slow = at_least("slow", slow, fast + 1)
        shortest = slow if shortest is None else at_least("shortest", shortest, slow)
        longest = None if longest is None else at_least("longest", longest, shortest)
        super().__init__(**kwargs)
        self.share, self.end, self.fast, self.slow = share, end, fast, slow
        self.shortest, self.longest = shortest, longest
        self.fast_mean = self.add_state("fast_mean", NO_LOSS)
        self.slow_mean = self.add_state("slow_mean", NO_LOSS)
        self.top_speed = self.add_state("top_speed", 0.0)
        self.batches = self.add_state("batches", 0, dtype="int32")  # since the last change
        self.in_spell = self.add_state("in_spell", False, dtype="bool")

    def update(self, loss: Any) -> Any:
        loss = ops.cast(loss, self.fast_mean.dtype)
        fast = running_mean(self.fast_mean.value, loss, 1 / self.fast)
        slow = running_mean(self.slow_mean.value, loss, 1 / self.slow)
        batches, in_spell = self.batches.value + 1, self.in_spell.value
        speed = slow - fast
        top = ops.where(ops.isfinite(speed), ops.maximum(self.top_speed.value, speed), self.top_speed.value)
        ready = batches >= self.shortest
        begins = ops.logical_and(ops.logical_not(in_spell), speed < self.share * top)
        ends = ops.logical_and(in_spell, speed < self.end * top) if self.end else ops.zeros_like(in_spell)
        if self.longest is not None:
            ends = ops.logical_or(ends, ops.logical_and(in_spell, batches >= self.longest))
        changes = ops.logical_and(ready, ops.logical_or(begins, ends))
        self.fast_mean.assign(ops.where(changes, ops.zeros_like(fast) + NO_LOSS, fast))
        self.slow_mean.assign(ops.where(changes, ops.zeros_like(slow) + NO_LOSS, slow))
        self.top_speed.assign(ops.where(changes, ops.zeros_like(top), top))
        self.batches.assign(ops.where(changes, ops.zeros_like(batches), batches))
        self.in_spell.assign(ops.logical_xor(in_spell, changes))
        return self.in_spell.value

    def get_config(self) -> dict[str, Any]:
        names = ("share", "end", "fast", "slow", "shortest", "longest")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
