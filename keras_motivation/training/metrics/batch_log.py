"""The losses of recent batches and whether they were motivated, stored on the device; and the cost of the epoch."""

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
        flops_per_example: FLOPs of training on one example: the base alone, the motivated model alone, and in a
            motivated batch. `None` records no cost.
    """

    def __init__(
        self, capacity: int, flops_per_example: tuple[int, int, int] | None, name: str = "batch_record"
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.capacity = capacity
        self.flops_per_example = flops_per_example
        self.losses = self._add("losses", (capacity,), "float32")
        self.motivated = self._add("motivated", (capacity,), "bool")
        self.batches = self._add("batches", (), "int32")
        # Of this epoch, in base batches and in motivated batches.
        self.examples = [self._add(f"examples_{i}", (), "int32") for i in range(2)]

    def _add(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        # All replicas write the same values, those of the global batch, so they must not be summed.
        return self.add_variable(shape, "zeros", dtype, aggregation="only_first_replica", name=name)

    def update_state(self, loss: Any, motivated: bool, examples: Any) -> None:
        """Overwrites the oldest batch."""
        here = ops.equal(ops.arange(self.capacity, dtype="int32"), self.batches.value % self.capacity)
        self.losses.assign(ops.where(here, ops.cast(loss, self.losses.dtype), self.losses.value))
        flags = self.motivated.value
        flags = ops.logical_or(flags, here) if motivated else ops.logical_and(flags, ops.logical_not(here))
        self.motivated.assign(flags)
        self.batches.assign(self.batches.value + 1)
        self.examples[motivated].assign(self.examples[motivated].value + examples)

    def count(self) -> int:
        """Number of batches written so far. Waits for the device."""
        return int(ops.convert_to_numpy(self.batches.value))

    def read(self, since: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads the record. Waits for the device.

        Args:
            since: Number of the first batch to return.

        Returns:
            Losses (float32) and flags (bool) of the batches from there on; at most of the last `capacity` batches.
        """
        count = self.count()
        places = np.arange(max(since, count - self.capacity), count) % self.capacity
        losses, motivated = (ops.convert_to_numpy(v.value) for v in (self.losses, self.motivated))
        return losses[places].astype("float32"), motivated[places].astype(bool)

    def reset_state(self) -> None:
        """Resets only the counts of the epoch. The record of batches continues."""
        for counted in self.examples:
            counted.assign(ops.zeros_like(counted.value))

    def result(self) -> dict[str, Any]:
        """FLOPs of the epoch so far, relative to those of training each model alone on the same examples."""
        if self.flops_per_example is None or not all(self.flops_per_example):
            return {}
        base_alone, motivated_alone, motivated = self.flops_per_example
        in_base, in_motivated = (ops.cast(counted.value, "float32") for counted in self.examples)
        share = ops.divide_no_nan(in_motivated, in_base + in_motivated)
        to_base = 1.0 + share * (motivated / base_alone - 1.0)
        return {"cost_to_base": to_base, "cost_to_motivated": to_base * (base_alone / motivated_alone)}
