"""The cost of training nested models in FLOPs, compared with training one of them alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_motivation.conditions.common import number
from keras_motivation.training.levels import Kinds, Terms, largest_of

# A backward pass has two products of the size of the forward product: for the gradients of inputs and of weights.
PASSES = 3
CARRY = 2**30


class TrainedExamples(keras.layers.Layer):
    """Counts trained examples on the device. Saved with the nested models.

    For each model: the examples of batches in which it was the largest one that trained, and the examples on which it
    trained. Not every backend has integers of more than 32 bits, so each count is stored as two digits.

    Args:
        sizes: Number of nested models.
        **kwargs: `name`.
    """

    def __init__(self, sizes: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.sizes = sizes
        self.low, self.high = (
            [
                self.add_weight(
                    shape=(), initializer="zeros", dtype="int32", trainable=False, autocast=False, name=name
                )
                for what in ("largest", "trained")
                for name in (f"{digit}_{what}_{size}" for size in range(sizes))
            ]
            for digit in ("low", "high")
        )
        self.built = True  # otherwise Keras would build the whole pair again, by a symbolic run, in every `fit`

    def count(self, terms: Terms, examples: Any) -> None:
        """Adds the examples of a batch, in the training step."""
        for i in (largest_of(terms), *(self.sizes + size for size, _ in terms)):
            self.low[i].assign(self.low[i].value + examples)

    def spent(self, costs: Sequence[float]) -> tuple[Any, Any]:
        """The number of examples, and their cost, as scalar tensors (float32), also inside the training step.

        Args:
            costs: For each model, the cost of training on one example.
        """
        counts = [
            CARRY * ops.cast(high.value, "float32") + ops.cast(low.value, "float32")
            for low, high in zip(self.low, self.high)
        ]
        largest, trained = counts[: self.sizes], counts[self.sizes :]
        return sum(largest[1:], start=largest[0]), sum(cost * count for cost, count in zip(costs, trained))

    def carry(self) -> None:
        """Carries the low digits into the high ones. Called once per epoch, outside of the step."""
        for low, high in zip(self.low, self.high):
            high.assign(high + low.value // CARRY)
            low.assign(low.value % CARRY)

    def result(self) -> tuple[int, ...]:
        """For each model, the number of examples in batches in which it was the largest one. Their sum is the total."""
        return self._counts()[: self.sizes]

    def trained(self) -> tuple[int, ...]:
        """For each model, the number of examples on which it trained."""
        return self._counts()[self.sizes :]

    def _counts(self) -> tuple[int, ...]:
        return tuple(CARRY * number(high) + number(low) for low, high in zip(self.low, self.high))


@dataclass(frozen=True)
class TrainingCost:
    """The cost of training so far; returned by `MotivatedModel.training_cost`.

    FLOPs are 2 x multiply-adds. Training on an example costs 3 times the forward pass: one forward, two backward.

    Attributes:
        flops: FLOPs of the whole training so far.
        examples: For each model, the number of examples in batches in which it was the largest one that trained. In a
            pair: in base batches and in motivated batches.
        flops_per_example: FLOPs of training on one example, at each level. In a pair: in a base batch and in a
            motivated batch. If the kind of a batch is drawn, the mean.
        alone: For each model, FLOPs of training it alone on the same number of examples.
        promised: With a `Budget`, the promised cost of the (last) `fit`, relative to the largest model alone.
        spent: With a `Budget`, what this `fit` has cost so far, relative to the largest model alone until its end.

    Examples:
        >>> import keras_motivation as km
        >>> cost = km.TrainingCost(flops=900, examples=(5, 5), flops_per_example=(60, 120), alone=(600, 1200))
        >>> cost.relative_to_base, cost.relative_to_motivated
        (1.5, 0.75)
    """

    flops: int
    examples: tuple[int, ...]
    flops_per_example: tuple[int, ...]
    alone: tuple[int, ...]
    promised: float | None = None
    spent: float | None = None

    @property
    def base_alone(self) -> int:
        """FLOPs of training the base alone on the same number of examples."""
        return self.alone[0]

    @property
    def motivated_alone(self) -> int:
        """FLOPs of training the (largest) motivated model alone on the same number of examples."""
        return self.alone[-1]

    @property
    def relative_to_base(self) -> float:
        """Cost relative to training the base alone; NaN before any training."""
        return self.flops / self.base_alone if self.base_alone else float("nan")

    @property
    def relative_to_motivated(self) -> float:
        """Cost relative to training the (largest) motivated model alone; NaN before any training."""
        return self.flops / self.motivated_alone if self.motivated_alone else float("nan")


def flops_by_kind(forward: Sequence[int], kinds: Kinds) -> tuple[int, ...]:
    """FLOPs of training on one example, in each kind of batch.

    Args:
        forward: For each model, FLOPs of its forward pass on one example.
        kinds: The kinds. A model that is not among the terms of a kind does not run.

    Returns:
        One number for each kind.
    """
    return tuple(PASSES * sum(forward[size] for size, _ in terms) for terms in kinds.terms)


def flops_by_level(forward: Sequence[int], kinds: Kinds) -> tuple[int, ...]:
    """FLOPs of training on one example, at each level; the mean of its kinds. Arguments as in `flops_by_kind`."""
    costs = flops_by_kind(forward, kinds)
    own = [[cost for cost, at in zip(costs, kinds.levels) if at == level] for level in range(kinds.highest + 1)]
    return tuple(round(sum(found) / len(found)) for found in own)


def training_cost(
    forward: Sequence[int], kinds: Kinds, examples: Sequence[int], trained: Sequence[int]
) -> TrainingCost:
    """Computes the cost of a training.

    Args:
        forward: For each model, FLOPs of its forward pass on one example.
        kinds: The kinds of batches.
        examples: For each model, the number of examples in batches in which it was the largest one that trained.
        trained: For each model, the number of examples on which it trained.

    Returns:
        The cost.
    """
    return TrainingCost(
        flops=PASSES * sum(cost * count for cost, count in zip(forward, trained)),
        examples=tuple(examples),
        flops_per_example=flops_by_level(forward, kinds),
        alone=tuple(PASSES * cost * sum(examples) for cost in forward),
    )
