"""The base class of motivation conditions: a memory, and a decision after each batch: the level of the next one."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

PACKAGE = "keras_motivation"


class MotivationCondition(keras.layers.Layer):
    """Decides after each batch the level of the next one. Subclass it to write your own.

    A level is the number of a kind of batch: at level 0 the base trains; at levels 1, 2, ... the batch is motivated.
    `MotivatedModel.compile(motivated_batch=...)` says what each level trains. A pair of models has the levels 0 and 1,
    unless you ask for more.

    A subclass creates its memory with `add_state` in `__init__` and implements `update(loss)`. The memory survives
    epochs, validation, recompiling with the same condition, and saving. `update` runs inside the compiled training
    step: write it with `keras.ops`, without Python branches on tensors. It may run before or after the weights are
    updated, so it should not read the weights or the optimizer. Under PyTorch, a GPU must wait whenever `keras.ops` or
    a `keras.Variable` receives a plain number; `variable.value + 1` is free of this.

    Use a condition for one pair only. Two pairs that are compiled with the same instance share its memory.

    The attribute `level` is an int32 `keras.Variable` of shape `()`: the level of the next batch.

    Args:
        motivated: Level of the very first batch, an integer or a boolean, as `update` returns it. Defaults to `False`.
        **kwargs: `name` and `dtype`, as in `keras.layers.Layer`.

    Source: paper, section 3.1 (the condition), and its summaries (the falling loss).

    Examples:
        >>> import keras
        >>> import keras_motivation as km
        >>> @keras.saving.register_keras_serializable("docs")
        ... class EveryNth(km.MotivationCondition):
        ...     def __init__(self, n, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.n = n
        ...         self.count = self.add_state("count", 0, dtype="int32")
        ...
        ...     def update(self, loss):
        ...         self.count.assign(self.count.value + 1)
        ...         return self.count.value % self.n == 0
        ...
        ...     def get_config(self):
        ...         return {**super().get_config(), "n": self.n}
        >>> condition = EveryNth(2)
        >>> [bool(condition.observe(1.0)) for _ in range(4)]
        [False, True, False, True]
    """

    def __init__(self, *, motivated: int = False, **kwargs: Any) -> None:
        kwargs.pop("trainable", None)
        super().__init__(trainable=False, **kwargs)
        self.first = motivated
        self.highest = 1  # the number of the highest level
        self.level = self.add_state("level", int(motivated), dtype="int32")

    @property
    def motivated(self) -> Any:
        """Scalar boolean tensor: whether the next batch is motivated, at any level."""
        return self.level.value > 0

    paced = True  # whether a `Budget` spreads its motivated batches over the training

    def bind(
        self,
        highest: int,
        costs: Callable[..., tuple[float, ...]] | None = None,
        spent: Callable[..., tuple[Any, Any]] | None = None,
    ) -> None:
        """Tells the condition which levels there are. `MotivatedModel.compile` calls it.

        Args:
            highest: Number of the highest level. The others are 0 to `highest - 1`.
            costs: `costs()` returns the cost of a batch at each level, in units of a batch of the largest model alone.
                If the models have open axes, give it the shape of one example, as in `count_flops`.
            spent: Inside the training step, `spent()` returns the number of examples so far and the cost of training on
                them, in units of an example of the largest model alone: two scalar tensors. Arguments as in `costs`.
                Only the outermost condition receives `costs` and `spent`.

        Raises:
            ValueError: If the condition asks for a level that does not exist.
        """
        if self.first is True and self.highest != highest:  # the first batch, if there has been none yet
            level = self.level.value
            self.level.assign(ops.where(ops.equal(level, self.highest), ops.zeros_like(level) + highest, level))
        self.highest = highest
        for part in self.inner_conditions():
            part.bind(highest)

    @property
    def needs_length(self) -> bool:
        """Whether the condition must know the length of the training, from `plan`."""
        return any(part.needs_length for part in self.inner_conditions())

    def plan(self, total: int | None, done: int) -> None:
        """Tells the condition how long the training is. `MotivatedModel.fit` calls it before the first batch.

        Args:
            total: Number of decisions in the whole training: of batches, or, if gradients are accumulated, of updates.
                `None` if it is not known.
            done: How many of them are done, if this `fit` continues a training.

        Raises:
            ValueError: If the condition does not fit such a training.
        """
        for part in self.inner_conditions():
            part.plan(total, done)

    def keep(self, share: float, costs: tuple[float, ...], total: int) -> None:
        """Called by a `Budget` after `plan`. A condition with a plan of its own changes it so that it costs `share`.

        Args:
            share: Cost of the whole training, in units of the largest model alone.
            costs: Cost of a batch at each level, in the same unit.
            total: As in `plan`.

        Raises:
            ValueError: If the plan cannot be changed so.
        """

    def logs(self) -> dict[str, Any]:
        """Values for the logs of training, in addition to the metrics, after a batch. The same names in each batch.

        Returns:
            Scalar tensors by name. Only the outermost condition is asked.
        """
        return {}

    def inner_conditions(self) -> list["MotivationCondition"]:
        """The conditions that decide inside this one."""
        return []

    def add_state(self, name: str, initial: Any, dtype: str | None = None) -> Any:
        """Creates a scalar variable of the condition's memory.

        Args:
            name: Name of the variable.
            initial: Its value before the first batch.
            dtype: Its dtype; `None` means `keras.config.floatx()`, the dtype of losses.

        Returns:
            A non-trainable `keras.Variable` of shape `()`.
        """

        def initializer(shape: Any, dtype: Any = None) -> Any:
            return ops.full(shape, initial, dtype=dtype)

        dtype = dtype or keras.config.floatx()
        return self.add_weight(
            shape=(), initializer=initializer, dtype=dtype, trainable=False, autocast=False, name=name
        )

    def update(self, loss: Any) -> Any:
        """Receives the loss of the last batch and returns the level of the next one.

        Args:
            loss: Scalar tensor: the loss (mean over the batch, penalties included) of the model that trained. If both
                models trained, it is the base's loss without its weight.

        Returns:
            Scalar tensor: an integer, the level; or a boolean, where true is the highest level, and false is 0. A level
            above the highest is the highest.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `update(loss)`.")

    def observe(self, loss: Any) -> Any:
        """Calls `update` and stores the decision. After a NaN or infinite loss, the next batch has level 0.

        Args:
            loss: Scalar: the batch's loss.

        Returns:
            Scalar int32 tensor: the level of the next batch, from 0 to `highest`.
        """
        loss = ops.convert_to_tensor(loss)
        decision = ops.convert_to_tensor(self.update(loss))
        if keras.backend.standardize_dtype(decision.dtype) == "bool":
            level = ops.cast(decision, "int32") * self.highest
        else:
            level = ops.maximum(ops.cast(decision, "int32"), ops.zeros_like(self.level.value))
            level = ops.minimum(level, ops.zeros_like(level) + self.highest)  # no plain number, see above
        level = level * ops.cast(ops.isfinite(loss), "int32")
        self.level.assign(level)
        return level

    def save_own_variables(self, store: Any) -> None:
        """Saves the memory. It includes the random seeds, which Keras does not save."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = ops.convert_to_numpy(ops.copy(variable.value))

    def load_own_variables(self, store: Any) -> None:
        """Restores the memory. If the file has none (its pair was not compiled), it stays as it is, with a warning.

        Raises:
            ValueError: If the file has the memory of another condition. Then nothing is changed.
        """
        if not store.keys():
            warnings.warn(f"The file holds no memory of the motivation condition '{self.name}'.", stacklevel=2)
            return
        if len(store.keys()) != len(self.variables):
            raise ValueError(
                f"The file must hold {len(self.variables)} variables for the motivation condition '{self.name}' "
                f"({', '.join(v.name for v in self.variables)}). Received: {len(store.keys())}"
            )
        for i, variable in enumerate(self.variables):
            variable.assign(store[str(i)])
