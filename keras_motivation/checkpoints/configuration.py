"""The config of a pair in a `.keras` file: the models, their weights maps, and the settings of `compile`."""

import warnings
from typing import Any, Self

import keras

from keras_motivation import _keras
from keras_motivation.checkpoints.saving import NOT_HDF5
from keras_motivation.interface import Pair
from keras_motivation.nesting.weights_map import WeightsMap
from keras_motivation.training.checks.arguments import check_choice
from keras_motivation.training.checks.hooks import pipeline_of


class Configuration(Pair):
    """Part of `MotivatedModel`."""

    def get_config(self) -> dict[str, Any]:
        """The models and the weights maps."""
        if _keras.writes_legacy_hdf5():  # called by `keras.saving.save_model`; `save` refuses before it creates a file
            raise ValueError(NOT_HDF5.format("a file of that format"))
        return {
            "name": self.name,
            "base": keras.saving.serialize_keras_object(self.base),
            "motivated": [keras.saving.serialize_keras_object(model) for model in self.models[1:]],
            "weights_map": [weights_map.get_config() for weights_map in self.weights_maps],
            "statistics": self.statistics,
            "extension": self.extension,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Rebuilds the pair of `get_config`."""
        config = dict(config)
        models, maps = config.pop("motivated", None), config.pop("weights_map", None)
        for name, value in (("motivated", models), ("weights_map", maps)):
            if not isinstance(value, list) or not value or len(value) != len(models):
                raise ValueError(f"Argument `{name}` of the config must be a list. Received: {name}={value!r}")
        with warnings.catch_warnings():
            # The pair compiles models that have a `compile` of their own, where Keras tells the user to do it.
            warnings.filterwarnings("ignore", message=".compile... was not called as part of model loading")
            base, *larger = [
                keras.saving.deserialize_keras_object(model, custom_objects=custom_objects)
                for model in (config.pop("base", None), *models)
            ]
        for model in larger:  # one is enough, and vocabularies, which would be compared, are loaded later
            if pipeline_of(model) is not None:
                model.preprocessor = base.preprocessor
        found = [WeightsMap.from_config(*each) for each in zip(maps, [base, *larger], larger)]
        extension = config.pop("extension", "random")
        check_choice("extension", extension, ("silent", "random"))
        model = cls(base, larger, found, extension="random", **config)  # its weights are loaded afterwards
        model.extension = extension
        return model

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras, with the motivation."""
        config = super().get_compile_config()
        if config:
            arguments = self._compiled_pair.arguments
            if arguments is not None:  # the models' own `compile` takes these, not Keras's
                config = {"optimizer": config["optimizer"]} | {
                    name: keras.saving.serialize_keras_object(value) for name, value in arguments.items()
                }
            config["optimizer"] = _keras.portable_config(config["optimizer"])
            config["motivation"] = keras.saving.serialize_keras_object(self.motivation)
            config["motivated_batch"] = self._compiled_pair.motivated_batch
            if (distillation := self._compiled_pair.distillation) is not None:
                config["distillation"] = [keras.saving.serialize_keras_object(loss) for loss in distillation.losses]
                config["distillation_weights"] = list(distillation.weights)
            config["evaluate_motivated"] = self._compiled_pair.evaluate
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As in Keras, with the motivation."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def get_build_config(self) -> None:
        """None, because both models have their own build config."""
