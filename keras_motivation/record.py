"""Loss and kind of the batches of late, kept on the device until somebody reads them; and what the epoch costs."""

from typing import Any

import keras
import numpy as np
from keras import ops


class BatchRecord(keras.metrics.Metric):
    """A ring of the last `capacity` batches. Written inside the training step, so it costs no transfer a batch.

    It is a metric so that its variables travel with the model's state, and its results, the cost of the epoch, into the
    logs.

    Args:
        capacity: How many batches it holds.
        flops_per_example: FLOPs of training on one example: the base alone, the motivated model alone, and in a
            motivated batch.
    """

    def __init__(self, capacity: int, flops_per_example: tuple[int, int, int], name: str = "batch_record") -> None:
        super().__init__(name=name)
        self.capacity = capacity
        self.flops_per_example = flops_per_example
        self.read_so_far = 0
        self.losses = self.add_variable((capacity,), initializer="zeros", name="losses")
        self.motivated = self.add_variable((capacity,), initializer="zeros", dtype="bool", name="motivated")
        self.batches = self.add_variable((), initializer="zeros", dtype="int32", name="batches")
        self.examples = self.add_variable((2,), initializer="zeros", name="examples")  # of the epoch

    def update_state(self, loss: Any, motivated: bool, examples: Any) -> None:
        """Writes a batch over the oldest one."""
        here = ops.equal(ops.arange(self.capacity, dtype="int32"), self.batches.value % self.capacity)
        self.losses.assign(ops.where(here, ops.cast(loss, self.losses.dtype), self.losses.value))
        self.motivated.assign(ops.where(here, motivated, self.motivated.value))
        self.batches.assign(self.batches + 1)
        kind = ops.convert_to_tensor([float(not motivated), float(motivated)], dtype=self.examples.dtype)
        self.examples.assign(self.examples + kind * ops.cast(examples, self.examples.dtype))

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Waits for the device.

        Returns:
            Losses (float32) and flags (bool) of the batches since the last call; of the last `capacity` if more.
        """
        count = int(ops.convert_to_numpy(self.batches.value))
        places = np.arange(max(self.read_so_far, count - self.capacity), count) % self.capacity
        self.read_so_far = count
        losses, motivated = (ops.convert_to_numpy(v.value) for v in (self.losses, self.motivated))
        return losses[places].astype("float32"), motivated[places].astype(bool)

    def reset_state(self) -> None:
        """Only what is counted by epoch; the record of batches goes on."""
        self.examples.assign(ops.zeros_like(self.examples.value))

    def result(self) -> dict[str, Any]:
        """FLOPs of the epoch so far, relative to those of training either model alone on the same examples."""
        base_alone, motivated_alone, motivated = self.flops_per_example
        share = self.examples.value / ops.maximum(ops.sum(self.examples.value), 1.0)
        to_base = share[0] + share[1] * (motivated / base_alone)
        return {"cost_to_base": to_base, "cost_to_motivated": to_base * (base_alone / motivated_alone)}
