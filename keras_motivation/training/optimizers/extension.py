"""A separate optimizer for the extension."""

from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.conditions import PACKAGE
from keras_motivation.training.optimizers.parts import inner


@keras.saving.register_keras_serializable(PACKAGE)
class ExtensionOptimizerMap:
    """Gives the extension its own optimizer, with another learning rate, schedule, weight decay or method.

    Pass it to `keras.optimizers.MultiOptimizer` in the place of a `keras.optimizers.OptimizerMap`. In a widened weight,
    the default optimizer updates the entries that the base stores, and the extension's optimizer updates the others.
    Both optimizers, and so their schedules, count every batch. The map belongs to the pair that was compiled with it
    last, and is saved with this pair.

    Args:
        default_optimizer: `keras.optimizers.Optimizer` for the base's weights.
        extension_optimizer: `keras.optimizers.Optimizer` for the weights of the extension.

    Raises:
        TypeError: If one of the two is not a Keras optimizer.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> from keras.optimizers import SGD, MultiOptimizer
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)])
        >>> model = km.MotivatedModel(mlp(8), mlp(16))
        >>> model.compile(MultiOptimizer(km.ExtensionOptimizerMap(SGD(0.1), SGD(0.3))), "mse")
        >>> history = model.fit(np.ones((32, 4)), np.ones((32, 1)), batch_size=4, verbose=0)
        >>> [round(float(optimizer.learning_rate), 2) for optimizer in model.optimizer.optimizers]
        [0.1, 0.3]
    """

    def __init__(self, default_optimizer: Any, extension_optimizer: Any) -> None:
        self.default_optimizer = default_optimizer
        self.extension_optimizer = extension_optimizer
        for name, optimizer in vars(self).copy().items():
            if not isinstance(optimizer, keras.optimizers.Optimizer):
                raise TypeError(f"Argument `{name}` must be a Keras optimizer. Received: {optimizer!r}")
        self._extension: set[int] | None = None

    def values(self) -> list[Any]:
        """Both optimizers. Keras asks for them before it knows any variable."""
        return [self.default_optimizer, self.extension_optimizer]

    def bind(self, extension: list[Any]) -> None:
        """Sets which variables are the extension's. `MotivatedModel.compile` calls this."""
        self._extension = {id(variable) for variable in extension}

    def __call__(self, variable: Any) -> Any:
        """The optimizer for a variable.

        Raises:
            ValueError: If no pair was compiled with this map.
        """
        if self._extension is None:
            raise ValueError(
                "An `ExtensionOptimizerMap` is for the pair that is compiled with it: pass it to "
                "`MotivatedModel.compile` in a `MultiOptimizer`. Received a variable of an unknown model: "
                f"'{variable.path}'"
            )
        return self.extension_optimizer if id(variable) in self._extension else self.default_optimizer

    def get_config(self) -> dict[str, Any]:
        """Both optimizers."""
        return {
            "default_optimizer": keras.saving.serialize_keras_object(self.default_optimizer),
            "extension_optimizer": keras.saving.serialize_keras_object(self.extension_optimizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "ExtensionOptimizerMap":
        """Rebuilds the map of `get_config`."""
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(optimizer, custom_objects=custom_objects)
                for name, optimizer in config.items()
            }
        )


def bind_extension(optimizer: Any, extension: list[Any]) -> None:
    """Tells an optimizer that has an `ExtensionOptimizerMap` which variables are the extension's."""
    optimizer = inner(optimizer)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        optimizers = _keras.optimizer_map(optimizer)
        if isinstance(optimizers, ExtensionOptimizerMap):
            optimizers.bind(extension)
