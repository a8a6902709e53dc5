"""The losses and levels of recent batches, stored on the device; and the cost of the epoch."""

from typing import Any

import keras
import numpy as np
from keras import ops


class BatchLog(keras.metrics.Metric):
    """A ring buffer of the last `capacity` batches. The training step writes it, so there is no transfer per batch.

    It is a metric, so that its variables belong to the model's state, and its result, the cost of the epoch, is in the
    logs.

    Args:
        capacity: How many batches it stores.
        levels: The level of each kind of batch.
        flops: FLOPs of training on one example: the smallest model alone, the largest model alone, and of each kind.
            `None` records no cost.
    """

    def __init__(
        self,
        capacity: int,
        levels: tuple[int, ...],
        flops: tuple[int, int, tuple[int, ...]] | None,
        name: str = "batch_record",
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.capacity = capacity
        self.flops = flops
        self.level_of = levels
        self.losses = self._add("losses", (capacity,), "float32")
        self.levels = self._add("levels", (capacity,), "int32")
        self.batches = self._add("batches", (), "int32")
        self.examples = [self._add(f"examples_{i}", (), "int32") for i in range(len(levels))]  # of this epoch, by kind

    def _add(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        # All replicas write the same values, those of the global batch, so they must not be summed.
        return self.add_variable(shape, "zeros", dtype, aggregation="only_first_replica", name=name)

    def update_state(self, loss: Any, kind: int, examples: Any) -> None:
        """Overwrites the oldest batch."""
        here = ops.equal(ops.arange(self.capacity, dtype="int32"), self.batches.value % self.capacity)
        self.losses.assign(ops.where(here, ops.cast(loss, self.losses.dtype), self.losses.value))
        level = ops.zeros_like(self.levels.value) + self.level_of[kind]
        self.levels.assign(ops.where(here, level, self.levels.value))
        self.batches.assign(self.batches.value + 1)
        self.examples[kind].assign(self.examples[kind].value + examples)

    def count(self) -> int:
        """Number of batches written so far. Waits for the device."""
        return int(ops.convert_to_numpy(self.batches.value))

    def read(self, since: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads the record. Waits for the device.

        Args:
            since: Number of the first batch to return.

        Returns:
            Losses (float32) and levels (int32) of the batches from there on; at most of the last `capacity` batches.
        """
        count = self.count()
        places = np.arange(max(since, count - self.capacity), count) % self.capacity
        losses, levels = (ops.convert_to_numpy(v.value) for v in (self.losses, self.levels))
        return losses[places].astype("float32"), levels[places].astype("int32")

    def reset_state(self) -> None:
        """Resets only the counts of the epoch. The record of batches continues."""
        for counted in self.examples:
            counted.assign(ops.zeros_like(counted.value))

    def result(self) -> dict[str, Any]:
        """FLOPs of the epoch so far, relative to those of training each model alone on the same examples."""
        if self.flops is None or not all(self.flops):
            return {}
        smallest, largest, by_kind = self.flops
        examples = [ops.cast(counted.value, "float32") for counted in self.examples]
        total = sum(examples[1:], start=examples[0])
        more = [ops.divide_no_nan(n, total) * (f / smallest - 1.0) for n, f in zip(examples[1:], by_kind[1:])]
        to_base = sum(more[1:], start=1.0 + more[0])
        return {"cost_to_base": to_base, "cost_to_motivated": to_base * (smallest / largest)}
