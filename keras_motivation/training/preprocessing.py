"""Raw data: a pair of KerasHub tasks runs their preprocessor, as each of them does in its own `fit`.

KerasHub's `PipelineModel` does this in its `fit`, `evaluate` and so on, and then calls those of `keras.Model`. So the
pair calls the methods of a small model of that class, whose `keras.Model` is the pair.
"""

import importlib.util
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_motivation.interface import Pair
from keras_motivation.training.checks.hooks import PIPELINE, own_prediction, pipeline_of


class Preprocessing(Pair):
    """Part of `MotivatedModel`: the methods that take data. It comes last, just before `keras.Model`."""

    @property
    def preprocessor(self) -> Any:
        """The preprocessor of the models, if they are tasks of KerasHub. Setting it sets that of all models."""
        if pipeline_of(self._nested[0]) is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute 'preprocessor'")
        return self._nested[0].preprocessor

    @preprocessor.setter
    def preprocessor(self, preprocessor: Any) -> None:
        if pipeline_of(self._nested[0]) is None:
            raise AttributeError("The models of this pair take no preprocessor: they are no tasks of KerasHub.")
        for model in self._nested:
            model.preprocessor = preprocessor

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, on preprocessed data."""
        return self._on_preprocessed("fit", super().fit, args, kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, on preprocessed data."""
        return self._on_preprocessed("evaluate", super().evaluate, args, kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, on preprocessed data; or what the base's own `predict` gives."""
        if own_prediction(self._nested[0]):
            return self.base.predict(*args, **kwargs)
        return self._on_preprocessed("predict", super().predict, args, kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, on preprocessed data."""
        return self._on_preprocessed("train_on_batch", super().train_on_batch, args, kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, on preprocessed data."""
        return self._on_preprocessed("test_on_batch", super().test_on_batch, args, kwargs)

    def predict_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras, on preprocessed data; or what the base's own `predict_on_batch` gives."""
        if own_prediction(self._nested[0]):
            return self.base.predict_on_batch(*args, **kwargs)
        return self._on_preprocessed("predict_on_batch", super().predict_on_batch, args, kwargs)

    def _on_preprocessed(self, name: str, method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        base, x = self._nested[0], args[0] if args else kwargs.get("x")
        pipeline = pipeline_of(base)
        if pipeline is None or (base.preprocessor is None and not _takes(x)):
            return method(*args, **kwargs)  # on data that are preprocessed already
        if self._running.pipeline is None:
            self._running.pipeline = _made(pipeline, base)
        self._running.pipeline.methods[name] = method
        return getattr(self._running.pipeline, name)(*args, **kwargs)


def _made(pipeline: Any, base: Any) -> Any:
    """A model of a class that preprocesses. It preprocesses as `base` does, and then calls methods of the pair.

    Only its class is needed, not its state. So it is not initialised.
    """

    def calls(name: str) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: self.methods[name](*args, **kwargs)

    own = {"preprocess_samples": staticmethod(base.preprocess_samples), "methods": {}}
    last = type("Last", (keras.Model,), {name: calls(name) for name in PIPELINE})
    return object.__new__(type("Pipeline", (pipeline, last), own))


def _takes(x: Any) -> bool:
    """Whether KerasHub can make its pipeline for data: it takes no loaders, and needs TensorFlow or grain."""
    loader = type(x).__module__.startswith("torch.utils.data")
    yields = loader or isinstance(x, (keras.utils.PyDataset, types.GeneratorType))
    return not yields and any(importlib.util.find_spec(name) for name in ("tensorflow", "grain"))


def check_preprocessors(models: list[keras.Model]) -> None:
    """Raises a `ValueError` if tasks of KerasHub have different preprocessors: the pair runs one, for all models."""
    found = [model.preprocessor for model in models if pipeline_of(model) is not None]
    for other in found[1:]:
        if not _alike(found[0], other):
            received = f"{_name(found[0])} in the base and {_other(found[0], other)} in the other"
            raise ValueError(
                "Arguments `base` and `motivated` must have the same preprocessor: the pair runs it once, for all "
                "models. Set the attribute `preprocessor` of both to the same object, or to None for data that are "
                f"preprocessed already. Received: {received}"
            )


def _alike(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or not isinstance(one, keras.layers.Layer):
        return bool(one == other)
    return _plain(one.get_config()) == _plain(other.get_config()) and _files(one) == _files(other)


def _plain(config: Any) -> Any:
    """A config without names, which Keras numbers."""
    if isinstance(config, dict):
        return {key: _plain(value) for key, value in config.items() if key != "name"}
    return [_plain(value) for value in config] if isinstance(config, (list, tuple)) else repr(config)


def _files(preprocessor: Any) -> dict[str, bytes]:
    """What is not in the config: the vocabularies of tokenizers, as they would be saved."""
    tokenizer = getattr(preprocessor, "tokenizer", None)
    if tokenizer is None or not hasattr(tokenizer, "save_assets"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_assets(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _other(one: Any, other: Any) -> str:
    return f"another {_name(other)}" if type(one) is type(other) else _name(other)


def _name(preprocessor: Any) -> str:
    return "none" if preprocessor is None else type(preprocessor).__name__
