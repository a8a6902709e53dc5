"""What a pair keeps of its training: how many examples trained which model, at what cost, and the batches of late."""

import warnings
from typing import Any

from keras_motivation.costs import TrainingCost, training_cost
from keras_motivation.flops import count_flops
from keras_motivation.record import BatchRecord


class Accounting:
    """Mixin of `MotivatedModel`."""

    def training_cost(self: Any, input_shape: Any = None) -> TrainingCost:
        """What training has cost so far, over all calls of `fit`, and what training one model alone would have cost.

        Args:
            input_shape: Shape of one example, as in `count_flops`, for models that leave axes open.

        Returns:
            The `TrainingCost`, in FLOPs. Motivated batches are counted as `compile(motivated_batch=...)` is set now.

        Raises:
            ValueError: If the FLOPs of a model cannot be counted.

        Examples:
            >>> import keras, numpy as np
            >>> import keras_motivation as km
            >>> base, larger = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(n)]) for n in (2, 2)]
            >>> model = km.MotivatedModel(base, larger)
            >>> model.compile("sgd", "mse", motivation="never")
            >>> history = model.fit(np.ones((16, 4)), np.ones((16, 2)), verbose=0)
            >>> cost = model.training_cost()
            >>> cost.examples, cost.flops, cost.relative_to_motivated
            ((16, 0), 768, 1.0)
        """
        self.attach_state()
        weights = self._compiled_pair.motivated_batch
        return training_cost(self._forward_costs(input_shape), weights, self.trained_examples.result())

    def _forward_costs(self: Any, input_shape: Any) -> tuple[int, int]:
        key = repr(input_shape)
        if key not in self._forward_flops.by_shape:
            self._forward_flops.by_shape[key] = tuple(count_flops(model, input_shape) for model in self._nested)
        return self._forward_flops.by_shape[key]

    @property
    def batch_record(self: Any) -> BatchRecord | None:
        """The record that `record_batches` made, if any."""
        return self._compiled_pair.record

    def record_batches(self: Any, capacity: int, input_shape: Any = None) -> None:
        """Has the training step note each batch, for `callbacks.MotivationHistory`. Call it before `fit`.

        `batch_record` is the record: the one before if it is large enough. It lasts until `compile`.

        Args:
            capacity: How many batches are held.
            input_shape: As in `training_cost`.

        Raises:
            ValueError: If `input_shape` is given and does not fit.
        """
        present, each = self._compiled_pair.record, None
        try:
            cost = training_cost(self._forward_costs(input_shape), self._compiled_pair.motivated_batch, (1, 1))
            each = (cost.flops_per_example[0], cost.motivated_alone // 2, cost.flops_per_example[1])
        except ValueError as error:
            if input_shape is not None:
                raise
            warnings.warn(f"Batches are recorded without their cost, which cannot be counted. {error}", stacklevel=2)
        if present is None or present.capacity < capacity or present.flops_per_example != each:
            self._compiled_pair.record = BatchRecord(capacity, each)
            self.train_function = self.test_function = None  # they know the metrics that were there before
