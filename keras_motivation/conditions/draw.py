"""Draws the kind of the next batch, where a level has several."""

from typing import Any

import keras
from keras import ops

from keras_motivation.conditions.base import MotivationCondition
from keras_motivation.conditions.common import number


def draw_for(condition: MotivationCondition, counts: tuple[int, ...], present: Any) -> "KindDraw | None":
    """The draw for a pair that is compiled; None if each level has one kind.

    Args:
        condition: The condition that decides the level.
        counts: The number of kinds at each level.
        present: The pair's `KindDraw` so far, if any. It is used again if nothing has changed.
    """
    if max(counts) == 1:
        return None
    same = isinstance(present, KindDraw) and present.condition is condition and present.counts == counts
    return present if same else KindDraw(condition, counts)


class KindDraw(MotivationCondition):
    """A pair's own condition around the user's: its `level` is the number of the next batch's kind.

    It is a condition because the draw, too, is a decision that is made once for each update of the weights.

    Args:
        condition: The condition that decides the level.
        counts: The number of kinds at each level.
    """

    def __init__(self, condition: MotivationCondition, counts: tuple[int, ...]) -> None:
        super().__init__(name="kind")
        self.condition, self.counts = condition, counts
        self.seed_generator = keras.random.SeedGenerator()

    def inner_conditions(self) -> list[MotivationCondition]:
        return [self.condition]

    def bind(self, highest: int, *args: Any) -> None:
        self.condition.bind(highest, *args)
        self.highest = sum(self.counts) - 1
        self._follow()

    def plan(self, total: int | None, done: int) -> None:
        super().plan(total, done)
        self._follow()

    def update(self, loss: Any) -> Any:
        return self._drawn(self.condition.observe(loss))

    def _follow(self) -> None:
        """Draws if the condition has another level than the present kind. Otherwise a resumed run keeps its kind."""
        kind, level = number(self.level), number(self.condition.level)
        before = sum(self.counts[:level])
        if not before <= kind < before + self.counts[level]:
            self.level.assign(self._drawn(self.condition.level.value))

    def _drawn(self, level: Any) -> Any:
        """One of a level's kinds, each with the same probability."""
        draw, zero = keras.random.uniform((), seed=self.seed_generator), ops.zeros_like(level)
        kind, before = zero, 0
        for own, count in enumerate(self.counts):
            chosen = sum((ops.cast(draw * count >= i, "int32") for i in range(1, count)), start=zero + before)
            kind = ops.where(ops.equal(level, zero + own), chosen, kind)
            before += count
        return kind
