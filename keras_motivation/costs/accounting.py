"""What a pair records of its training: trained examples and their cost, and the recent batches."""

import dataclasses
import warnings
from typing import Any

from keras import ops

from keras_motivation.conditions import Budget
from keras_motivation.costs.flops import count_flops
from keras_motivation.costs.training_cost import PASSES, TrainingCost, flops_by_kind, flops_by_level, training_cost
from keras_motivation.interface import Pair
from keras_motivation.training.levels import Kinds
from keras_motivation.training.metrics.batch_log import BatchLog


class Accounting(Pair):
    """Part of `MotivatedModel`."""

    def training_cost(self, input_shape: Any = None) -> TrainingCost:
        """Returns the cost of training so far, over all calls of `fit`, and the cost of training each model alone.

        Args:
            input_shape: Shape of one example, as in `count_flops`. Needed if the models have open axes. `None` takes
                that of a `Budget`.

        Returns:
            The `TrainingCost`, in FLOPs.

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
        if input_shape is None:
            input_shape = getattr(self.motivation, "input_shape", None)
        kinds, examples = self._compiled_pair.kinds, self.trained_examples
        cost = training_cost(self._forward_costs(input_shape), kinds, examples.result(), examples.trained())
        if not isinstance(self.motivation, Budget):
            return cost
        logs = {name: float(ops.convert_to_numpy(value)) for name, value in self.motivation.logs().items()}
        return dataclasses.replace(cost, promised=logs["budget"], spent=logs["spent"])

    def _level_costs(self, kinds: Kinds, input_shape: Any = None) -> tuple[float, ...]:
        """The cost of a batch at each level, in units of a batch of the largest model alone."""
        forward = self._forward_costs(input_shape)
        return tuple(flops / (PASSES * forward[-1]) for flops in flops_by_level(forward, kinds))

    def _spent(self, input_shape: Any = None) -> tuple[Any, Any]:
        """The number of examples so far, and the cost of training on them, in examples of the largest model alone."""
        forward = self._forward_costs(input_shape)
        return self.trained_examples.spent([flops / forward[-1] for flops in forward])

    def _forward_costs(self, input_shape: Any) -> tuple[int, ...]:
        key, known = repr(input_shape), self._running.forward_flops
        if key not in known:
            known[key] = tuple(count_flops(model, input_shape) for model in self._nested)
        return known[key]

    @property
    def batch_log(self) -> BatchLog | None:
        """The `BatchLog` made by `record_batches`; `None` without one."""
        return self._compiled_pair.batch_log

    def record_batches(self, capacity: int, input_shape: Any = None) -> None:
        """Makes the training step record each batch, for `MotivationHistory`. Call it before `fit`.

        The record is `batch_log`. An existing one is used again if it is large enough. `compile` removes it.

        Args:
            capacity: How many batches the record keeps.
            input_shape: As in `training_cost`.

        Raises:
            ValueError: If `input_shape` is given and does not fit.
        """
        present, flops = self._compiled_pair.batch_log, None
        kinds = self._compiled_pair.kinds
        try:
            forward = self._forward_costs(input_shape)
            flops = PASSES * forward[0], PASSES * forward[-1], flops_by_kind(forward, kinds)
        except ValueError as error:
            if input_shape is not None:
                raise
            warnings.warn(f"Batches are recorded without their cost, which cannot be counted. {error}", stacklevel=2)
        if present is None or present.capacity < capacity or present.flops != flops:
            self._compiled_pair.batch_log = BatchLog(capacity, kinds.levels, flops)
            self.train_function = self.test_function = None  # they were made with the old metrics
