"""The config of a pair in a `.keras` file: both models, their weights map, and the settings of `compile`."""

from typing import Any, Self

import keras

from keras_motivation import _keras
from keras_motivation.checkpoints.saving import NOT_HDF5
from keras_motivation.interface import Pair
from keras_motivation.nesting.weights_map import WeightsMap
from keras_motivation.training.checks.arguments import check_choice


class Configuration(Pair):
    """Part of `MotivatedModel`."""

    def get_config(self) -> dict[str, Any]:
        """Both models and the weights map."""
        if _keras.writes_legacy_hdf5():  # called by `keras.saving.save_model`; `save` refuses before it creates a file
            raise ValueError(NOT_HDF5.format("a file of that format"))
        return {
            "name": self.name,
            "base": keras.saving.serialize_keras_object(self.base),
            "motivated": keras.saving.serialize_keras_object(self.motivated),
            "weights_map": self.weights_map.get_config(),
            "statistics": self.statistics,
            "extension": self.extension,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Rebuilds the pair of `get_config`."""
        config = dict(config)
        base, motivated = (
            keras.saving.deserialize_keras_object(config.pop(key, None), custom_objects=custom_objects)
            for key in ("base", "motivated")
        )
        weights_map = WeightsMap.from_config(config.pop("weights_map", None), base, motivated)
        extension = config.pop("extension", "random")
        check_choice("extension", extension, ("silent", "random"))
        model = cls(base, motivated, weights_map, extension="random", **config)  # its weights are loaded afterwards
        model.extension = extension
        return model

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras, with the motivation."""
        config = super().get_compile_config()
        if config:
            config["optimizer"] = _keras.portable_config(config["optimizer"])
            config["motivation"] = keras.saving.serialize_keras_object(self.motivation)
            config["motivated_batch"] = list(self._compiled_pair.motivated_batch)
            config["evaluate_motivated"] = self._compiled_pair.evaluate
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As in Keras, with the motivation."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def get_build_config(self) -> None:
        """None, because both models have their own build config."""
