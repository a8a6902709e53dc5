"""A condition that keeps the cost of the whole training at a promise."""

import functools
import types
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_motivation.conditions.base import PACKAGE, MotivationCondition
from keras_motivation.conditions.common import number

SLACK = 0.1


@keras.saving.register_keras_serializable(PACKAGE)
class Budget(MotivationCondition):
    """Another condition, with a promise for the cost of the whole training.

    The other condition decides as long as the promise can still be kept. If too much has been spent, batches have a
    cheaper level than it chose; if too little, a more expensive one. Conditions that decide for single batches, such as
    `LossStreak`, are spread over the training: the rest of the budget stays near its even share. Conditions that make
    spells (`Phases`, `LossPlateau`) are only limited at the end: there, their last spell begins early enough to spend
    the rest, or ends when all is spent. With `Phases` of fractions, the switches are moved so that the promise is kept
    in order: an end `b` becomes `b ** g`, with the same `g` for all.

    The logs have `budget`, the promised cost, and `spent`, what the training has cost so far; both relative to training
    the largest model alone until the end.

    Args:
        share: The cost of `fit`, relative to training the largest model alone on the same data.
        condition: The `MotivationCondition` that decides within this budget. It receives the losses of all batches.
        input_shape: Shape of one example, as in `count_flops`. Needed if the models have open axes.
        **kwargs: `name` and `dtype`.

    Raises:
        TypeError: If `condition` is not a condition.
        ValueError: If `share` is not a positive number; in `compile`, if it is below the cost of the base alone or
            above that of the most expensive level, or if the FLOPs of a model cannot be counted; in `fit`, if the
            length of the training is unknown.

    Source: ours.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)])
        >>> model = km.MotivatedModel(mlp(8), mlp(16))
        >>> model.compile("sgd", "mse", motivation=km.Budget(0.8, km.LossStreak(k=2)))
        >>> x, y = np.random.default_rng(0).normal(size=(320, 4)), np.ones((320, 1))
        >>> history = model.fit(x, y, batch_size=4, epochs=5, verbose=0)
        >>> round(model.training_cost().relative_to_motivated, 2)
        0.8
        >>> round(history.history["budget"][-1], 2), round(history.history["spent"][-1], 2)
        (0.8, 0.8)
    """

    def __init__(self, share: float, condition: Any, input_shape: Any = None, **kwargs: Any) -> None:
        if isinstance(condition, dict):  # as `get_config` wrote it
            condition = keras.saving.deserialize_keras_object(condition)
        if not isinstance(condition, MotivationCondition):
            raise TypeError(f"Argument `condition` must be a `MotivationCondition`. Received: condition={condition!r}")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < float("inf"):
            raise ValueError(f"Argument `share` must be a positive number. Received: share={share!r}")
        super().__init__(motivated=condition.first, **kwargs)
        self.share, self.condition, self.input_shape = float(share), condition, input_shape
        self.start = self.add_state("start", 0, dtype="int32")  # decisions of the training before this promise
        self.total = self.add_state("total", 0, dtype="int32")
        self.decided = self.add_state("decided", 0, dtype="int32")
        self.examples_before = self.add_state("examples_before", 0.0, dtype="float32")
        self.cost_before = self.add_state("cost_before", 0.0, dtype="float32")
        # Of the models that are trained; in a namespace, since Keras would track them as parts of this layer.
        self._of = types.SimpleNamespace(costs=None, spent=None)

    def inner_conditions(self) -> list[MotivationCondition]:
        return [self.condition]

    @property
    def needs_length(self) -> bool:
        return number(self.total) == 0 or super().needs_length

    def bind(
        self,
        highest: int,
        costs: Callable[..., tuple[float, ...]] | None = None,
        spent: Callable[..., tuple[Any, Any]] | None = None,
    ) -> None:
        if costs is None or spent is None:
            raise ValueError("A `Budget` must be the outermost condition: pass it to `compile`, not to a condition.")
        found = costs(self.input_shape)
        if not min(found) - 1e-6 <= self.share <= max(found) + 1e-6:
            raise ValueError(
                f"Argument `share` of `Budget` must be from {min(found):.3f}, the cost of the cheapest level relative "
                f"to the largest model alone, to {max(found):.3f}, that of the most expensive one. Received: "
                f"share={self.share}"
            )
        self._of.costs, self._of.spent = found, functools.partial(spent, self.input_shape)
        super().bind(highest)

    def plan(self, total: int | None, done: int) -> None:
        super().plan(total, done)
        if total is None:
            raise ValueError(
                "`Budget` needs the length of the training: pass `steps_per_epoch` to `fit`. Received: data of unknown "
                "length"
            )
        start, decided = number(self.start), number(self.decided)
        if done == 0 or start + decided != done:  # not the training of the promise so far
            start = done
            examples, cost = self._of.spent()
            for variable, value in (
                (self.start, start),
                (self.decided, 0),
                (self.examples_before, examples),
                (self.cost_before, cost),
            ):
                variable.assign(value)
        self.total.assign(total - start)
        self.condition.keep(self.share, self._of.costs, total)
        self.level.assign(self._affordable(self.condition.level.value))

    def update(self, loss: Any) -> Any:
        wanted = self.condition.observe(loss)
        self.decided.assign(self.decided.value + 1)
        return self._affordable(wanted)

    def logs(self) -> dict[str, Any]:
        examples, cost = self._since_start()
        decided, total = (ops.cast(v.value, "float32") for v in (self.decided, self.total))
        return {"budget": 0.0 * cost + self.share, "spent": ops.divide_no_nan(cost * decided, examples * total)}

    def _since_start(self) -> tuple[Any, Any]:
        """Examples and cost of the training of this promise."""
        examples, cost = self._of.spent()
        return examples - self.examples_before.value, cost - self.cost_before.value

    def _affordable(self, wanted: Any) -> Any:
        """The level nearest to the wanted one with which the promise can still be kept."""
        costs = self._of.costs
        slack = SLACK * (max(costs) - min(costs)) if self.condition.paced else max(costs)
        # Costs are in units of an average batch of the largest model; the rest of the training must cost, per batch,
        # between these two.
        least, most = max(min(costs), self.share - slack), min(max(costs), self.share + slack)
        examples, cost = self._since_start()
        decided, total = (ops.cast(v.value, "float32") for v in (self.decided, self.total))
        after = total - decided - 1.0  # batches after the next one
        left = self.share * total - ops.divide_no_nan(cost * decided, examples)
        # Less than half a per cent of the budget is no reason for another level, so that a plan ends as it was made.
        spare = ops.minimum(0.005 * self.share * total, 0.0 * total + 0.5 * (max(costs) - min(costs)))
        at_most, at_least = left - least * after + spare, left - most * after - spare
        zero = ops.zeros_like(self.level.value)
        order = sorted(range(len(costs)), key=costs.__getitem__)
        cheaper, dearer, price = zero + order[0], zero + order[-1], 0.0 * left
        for level in order:
            cheaper = ops.where(at_most >= costs[level], zero + level, cheaper)
            price = ops.where(ops.equal(wanted, zero + level), 0.0 * left + costs[level], price)
        for level in reversed(order):
            dearer = ops.where(at_least <= costs[level], zero + level, dearer)
        return ops.where(price > at_most, cheaper, ops.where(price < at_least, dearer, wanted))

    def get_config(self) -> dict[str, Any]:
        condition = keras.saving.serialize_keras_object(self.condition)
        return {**super().get_config(), "share": self.share, "condition": condition, "input_shape": self.input_shape}
