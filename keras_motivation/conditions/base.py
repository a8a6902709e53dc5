"""The base class of motivation conditions: a memory, and a decision after each batch."""

import warnings
from typing import Any

import keras
from keras import ops

PACKAGE = "keras_motivation"


class MotivationCondition(keras.layers.Layer):
    """Decides after each batch whether the next one is motivated. Subclass it to write your own.

    A subclass creates its memory with `add_state` in `__init__` and implements `update(loss)`. The memory survives
    epochs, validation, recompiling with the same condition, and saving. `update` runs inside the compiled training
    step: write it with `keras.ops`, without Python branches on tensors. It may run before or after the weights are
    updated, so it should not read the weights or the optimizer. Under PyTorch, a GPU must wait whenever `keras.ops` or
    a `keras.Variable` receives a plain number; `variable.value + 1` is free of this.

    Use a condition for one pair only. Two pairs that are compiled with the same instance share its memory.

    The attribute `motivated` is a boolean `keras.Variable` of shape `()`: whether the next batch is motivated.

    Args:
        motivated: Whether the very first batch is motivated. Defaults to `False`.
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

    def __init__(self, *, motivated: bool = False, **kwargs: Any) -> None:
        kwargs.pop("trainable", None)
        super().__init__(trainable=False, **kwargs)
        self.motivated = self.add_state("motivated", motivated, dtype="bool")

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
        """Receives the loss of the last batch and returns whether the next batch is motivated.

        Args:
            loss: Scalar tensor: the loss (mean over the batch, penalties included) of the model that trained. If both
                models trained, it is the base's loss without its weight.

        Returns:
            Scalar boolean tensor.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `update(loss)`.")

    def observe(self, loss: Any) -> Any:
        """Calls `update` and stores the decision. After a NaN or infinite loss, the next batch is never motivated.

        Args:
            loss: Scalar: the batch's loss.

        Returns:
            Scalar boolean tensor: whether the next batch is motivated.
        """
        loss = ops.convert_to_tensor(loss)
        decision = ops.logical_and(ops.isfinite(loss), self.update(loss))
        self.motivated.assign(decision)
        return decision

    def save_own_variables(self, store: Any) -> None:
        """Saves the memory. It includes the random seeds, which Keras does not save."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = ops.convert_to_numpy(variable.value)

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
