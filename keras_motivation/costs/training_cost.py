"""The cost of training a pair in FLOPs, compared with training one of its models alone."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

# A backward pass has two products of the size of the forward product: for the gradients of inputs and of weights.
PASSES = 3
CARRY = 2**30


class TrainedExamples(keras.layers.Layer):
    """Counts on the device the examples of base batches and of motivated batches. Saved with the pair.

    Not every backend has integers of more than 32 bits, so each count is stored as two digits.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.low, self.high = (
            [
                self.add_weight(
                    shape=(), initializer="zeros", dtype="int32", trainable=False, autocast=False, name=name
                )
                for name in (f"{digit}_base", f"{digit}_motivated")
            ]
            for digit in ("low", "high")
        )
        self.built = True  # otherwise Keras would build the whole pair again, by a symbolic run, in every `fit`

    def count(self, motivated: bool, examples: Any) -> None:
        """Adds the examples of a batch, in the training step."""
        self.low[motivated].assign(self.low[motivated].value + examples)

    def carry(self) -> None:
        """Carries the low digits into the high ones. Called once per epoch, outside of the step."""
        for low, high in zip(self.low, self.high):
            high.assign(high + low.value // CARRY)
            low.assign(low.value % CARRY)

    def result(self) -> tuple[int, int]:
        """Number of examples in base batches and in motivated batches."""
        base, motivated = (CARRY * _number(high) + _number(low) for low, high in zip(self.low, self.high))
        return base, motivated


def _number(variable: Any) -> int:
    # As a tensor first: in a strategy's scope, TensorFlow cannot convert a variable with replicas to an array.
    return int(ops.convert_to_numpy(ops.copy(variable.value)))


@dataclass(frozen=True)
class TrainingCost:
    """The cost of training a pair so far; returned by `MotivatedModel.training_cost`.

    FLOPs are 2 x multiply-adds. Training on an example costs 3 times the forward pass: one forward, two backward.

    Attributes:
        flops: FLOPs of the whole training so far.
        examples: Number of examples in base batches and in motivated batches.
        flops_per_example: FLOPs of training on one example, in a base batch and in a motivated batch.
        base_alone: FLOPs of training the base alone on the same number of examples.
        motivated_alone: FLOPs of training the motivated model alone on the same number of examples.

    Examples:
        >>> import keras_motivation as km
        >>> cost = km.TrainingCost(
        ...     flops=900, examples=(5, 5), flops_per_example=(60, 120), base_alone=600, motivated_alone=1200
        ... )
        >>> cost.relative_to_base, cost.relative_to_motivated
        (1.5, 0.75)
    """

    flops: int
    examples: tuple[int, int]
    flops_per_example: tuple[int, int]
    base_alone: int
    motivated_alone: int

    @property
    def relative_to_base(self) -> float:
        """Cost relative to training the base alone; NaN before any training."""
        return self.flops / self.base_alone if self.base_alone else float("nan")

    @property
    def relative_to_motivated(self) -> float:
        """Cost relative to training the motivated model alone; NaN before any training."""
        return self.flops / self.motivated_alone if self.motivated_alone else float("nan")


def training_cost(forward: tuple[int, int], weights: tuple[float, float], examples: tuple[int, int]) -> TrainingCost:
    """Computes the cost of a training.

    Args:
        forward: FLOPs of the base's and of the motivated model's forward pass on one example.
        weights: Weights of the two models' losses on a motivated batch. A model with weight zero does not run.
        examples: Number of examples in base batches and in motivated batches.

    Returns:
        The cost.
    """
    base = PASSES * forward[0]
    motivated = PASSES * sum(cost for cost, weight in zip(forward, weights) if weight)
    return TrainingCost(
        flops=base * examples[0] + motivated * examples[1],
        examples=examples,
        flops_per_example=(base, motivated),
        base_alone=base * sum(examples),
        motivated_alone=PASSES * forward[1] * sum(examples),
    )
