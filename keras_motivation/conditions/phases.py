"""Training in phases: the level of a batch follows from how far the training is."""

import math
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_motivation.conditions.base import PACKAGE, MotivationCondition

NEVER = 2**31 - 1  # the end of a phase in batches, while the length of the training is not known


@keras.saving.register_keras_serializable(PACKAGE)
class Phases(MotivationCondition):
    """Each phase of the training has its level: for example first the base, then the motivated model, then both.

    The ends of the phases are fractions of the training, or numbers of batches. `fit` knows the length of the training,
    epochs times batches. A second `fit` is a new training and starts with the first phase, unless `initial_epoch` says
    that it continues; then, and after `BackupAndRestore`, the phases continue, too.

    Args:
        *phases: Pairs `(until, level)` in order. `until` is where the phase ends: a float in (0, 1], as a fraction of
            the training; or an integer, the number of batches from the start of the training. Use one kind for all. The
            last one must be the end of the training, `1.0` or at least all batches, or `None`. `level` is an integer,
            or a `MotivationCondition` that decides in this phase. It receives the losses of all batches.
        **kwargs: `name` and `dtype`.

    Raises:
        ValueError: If there are no phases, if their ends do not increase, or if they do not cover the training; before
            the first batch, if the ends are fractions and the length of the training is unknown.
        TypeError: If a phase is not such a pair.

    Source: ours, after networks that grow during training (Staged Training, arXiv 2203.06211).

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)])
        >>> model, record = km.MotivatedModel(mlp(8), mlp(16)), km.MotivationHistory()
        >>> phases = km.Phases((0.5, 0), (0.75, 1), (1.0, 2))
        >>> model.compile("sgd", "mse", motivation=phases, motivated_batch=["alternate", "joint"])
        >>> x, y = np.ones((16, 4)), np.ones((16, 1))
        >>> history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[record])
        >>> record.levels.tolist()
        [0, 0, 0, 0, 1, 1, 2, 2]
    """

    def __init__(self, *phases: Any, **kwargs: Any) -> None:
        found = [_phase(phase) for phase in kwargs.pop("phases", phases)]
        self._check_ends([until for until, _ in found], found)
        first = found[0][1]
        super().__init__(motivated=first.first if isinstance(first, MotivationCondition) else first, **kwargs)
        self.ends = [until for until, _ in found]
        self.levels = [level for _, level in found]
        self.fractions = any(isinstance(until, float) for until in self.ends)
        self.planned = False
        self.batches = self.add_state("batches", 0, dtype="int32")
        self.start = self.add_state("start", 0, dtype="int32")
        known = [NEVER if self.fractions or until is None else until for until in self.ends[:-1]]
        self.stops = [self.add_state(f"stop_{i}", stop, dtype="int32") for i, stop in enumerate(known)]

    paced = False

    @staticmethod
    def _check_ends(ends: list[Any], phases: list[Any]) -> None:
        kinds = {type(until) for until in ends if until is not None}
        numbers = [until for until in ends if until is not None]
        good = len(kinds) <= 1 and all(a < b for a, b in pairwise(numbers)) and None not in ends[:-1]
        if not ends or not good or (float in kinds and ends[-1] not in (1.0, None)):
            raise ValueError(
                "Arguments of `Phases` must be pairs (until, level) whose ends increase, as fractions up to 1.0 or as "
                f"numbers of batches; the last may be None. Received: {phases}"
            )

    def inner_conditions(self) -> list[MotivationCondition]:
        return [level for level in self.levels if isinstance(level, MotivationCondition)]

    def bind(self, highest: int, *args: Any) -> None:
        wrong = [level for level in self.levels if isinstance(level, int) and level > highest]
        if wrong:
            raise ValueError(
                f"Arguments of `Phases` must have levels from 0 to {highest}. Received: {wrong[0]}. (More levels: pass "
                "more models, or a list as `motivated_batch`.)"
            )
        super().bind(highest, *args)

    @property
    def needs_length(self) -> bool:
        return (self.fractions and not self.planned) or super().needs_length

    def plan(self, total: int | None, done: int) -> None:
        super().plan(total, done)
        if self.fractions and total is None:
            raise ValueError(
                "`Phases` with fractions needs the length of the training: pass `steps_per_epoch` to `fit`, or numbers "
                f"of batches to `Phases`. Received: data of unknown length, and phases that end at {self.ends}"
            )
        last = self.ends[-1]
        if total is not None and isinstance(last, int) and last < total:
            raise ValueError(
                f"The phases must cover the training of {total} updates: end the last one there, or at None. Received: "
                f"phases that end at {self.ends}"
            )
        self.planned = True
        self.start.assign(self.batches.value - done)
        self._stop_at([until * (total or 0) if self.fractions else until for until in self.ends[:-1]])

    def keep(self, share: float, costs: tuple[float, ...], total: int) -> None:
        if len(self.levels) == 1 or self.inner_conditions():
            return  # nothing to move, or a cost that is not known in advance
        ends = [until if self.fractions else until / total for until in self.ends[:-1]]
        prices = [costs[level] for level in self.levels]
        power = power_for(share, ends, prices)
        if power is None:
            raise ValueError(
                f"The phases must reach the promised cost with other switches between them. Received: share={share} "
                f"with phases that cost {prices}"
            )
        self._stop_at([end**power * total for end in ends])

    def _stop_at(self, ends: list[float]) -> None:
        """Sets the ends of the phases, as numbers of batches from the start of the training."""
        for stop, end in zip(self.stops, ends):
            stop.assign(self.start.value + math.floor(end + 0.5))
        self.level.assign(self._level_at(self.batches.value))  # the last decision may be of a former training

    def update(self, loss: Any) -> Any:
        for condition in self.inner_conditions():
            condition.observe(loss)
        self.batches.assign(self.batches.value + 1)
        return self._level_at(self.batches.value)

    def _level_at(self, batch: Any) -> Any:
        """The level of a batch, in the phase to which it belongs."""
        zero = ops.zeros_like(self.level.value)
        values = [p.level.value if isinstance(p, MotivationCondition) else zero + p for p in self.levels]
        level = values[-1]
        for stop, value in zip(reversed(self.stops), reversed(values[:-1])):
            level = ops.where(batch < stop.value, value, level)
        return level

    def get_config(self) -> dict[str, Any]:
        levels = [
            keras.saving.serialize_keras_object(level) if isinstance(level, MotivationCondition) else level
            for level in self.levels
        ]
        return {**super().get_config(), "phases": [list(phase) for phase in zip(self.ends, levels)]}


def _phase(phase: Any) -> tuple[Any, Any]:
    """The end and the level of a phase, checked."""
    if not isinstance(phase, (tuple, list)) or len(phase) != 2:
        raise TypeError(f"Arguments of `Phases` must be pairs (until, level). Received: {phase!r}")
    until, level = phase
    if isinstance(level, dict):  # as `get_config` wrote it
        level = keras.saving.deserialize_keras_object(level)
    if isinstance(until, np.number):
        until = until.item()
    whole = isinstance(until, int) and not isinstance(until, bool) and until >= 1
    if not (until is None or whole or (isinstance(until, float) and 0 < until <= 1)):
        raise ValueError(
            "The end of a phase must be a fraction in (0, 1], as a float, or a number of batches of at least 1, as an "
            f"integer. Received: {phase!r}"
        )
    if isinstance(level, (int, np.integer)) and not isinstance(level, bool) and level >= 0:
        return until, int(level)
    if not isinstance(level, MotivationCondition):
        raise TypeError(f"The level of a phase must be an integer or a `MotivationCondition`. Received: {phase!r}")
    return until, level


def power_for(share: float, ends: list[float], prices: list[float]) -> float | None:
    """The power g nearest to 1 with which phases that end at `end ** g` cost `share`; `None` if there is none.

    Args:
        share: The mean cost of a batch.
        ends: Ends of all phases but the last, as fractions of the training.
        prices: Cost of a batch in each phase.
    """

    def excess(power: float) -> float:
        moved = [0.0, *(end**power for end in ends), 1.0]
        return sum(price * (b - a) for price, (a, b) in zip(prices, pairwise(moved))) - share

    if abs(excess(1.0)) < 1e-9:
        return 1.0
    grid = [10 ** (i / 20) for i in range(-60, 61)]
    found = []
    for low, high in pairwise(grid):
        if excess(low) * excess(high) <= 0:
            for _ in range(60):
                middle = math.sqrt(low * high)
                low, high = (low, middle) if excess(low) * excess(middle) <= 0 else (middle, high)
            found.append(math.sqrt(low * high))
    return min(found, key=lambda power: abs(math.log(power)), default=None)
