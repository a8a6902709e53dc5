"""The race: a stock model's own `fit` against its part of a pair, from the same weights on the same data."""

import dataclasses
from typing import Any

import keras
import numpy as np
from helpers import crossentropy, mlp, numpy, pair_of, vectors
from zoo.cases import BATCH

import keras_motivation as km

BATCHES, EPOCHS = 4, 3


@dataclasses.dataclass
class Outcome:
    """How far the pair came from the stock model: the largest deviation, relative to the size of what deviates."""

    deviation: float
    where: str

    def __str__(self) -> str:
        return f"{self.deviation:.2g} in {self.where}"


class StockError(Exception):
    """The stock model itself cannot be built or trained, so that there is nothing to race against."""


def optimizer() -> keras.optimizers.Optimizer:
    """With weight decay, which tells no gradient from a gradient of zero.

    Its large epsilon keeps gradients that are nothing but rounding, as those of a key's bias, from being blown up.
    """
    return keras.optimizers.AdamW(2e-2, weight_decay=0.05, epsilon=1e-2)


class Race:
    """A pair of a case and its data. Each `run` starts from the weights with which the pair was made.

    Args:
        case: A `Case` of the zoo, or anything with its `build`, `sizes` and `data`.
        **kwargs: Of `MotivatedModel`.
    """

    def __init__(self, case: Any, batches: int = BATCHES, epochs: int = EPOCHS, **kwargs: Any) -> None:
        self.case, self.epochs = case, epochs
        keras.utils.set_random_seed(1)
        try:
            models = [case.build(*size) for size in case.sizes]
            self.data = case.data(models[0], batches * BATCH)
        except Exception as error:
            raise StockError(f"{type(error).__name__}: {error}") from error
        if getattr(case, "batch", False):
            kwargs["x"] = keras.tree.map_structure(lambda array: array[:BATCH], self.data[0])
        if (weights_map := getattr(case, "weights_map", None)) is not None:
            kwargs["weights_map"] = weights_map(*models)
        self.pair = km.MotivatedModel(*models, **kwargs)
        self.models = self.pair.base, self.pair.motivated
        self.start = [[np.array(numpy(v)) for v in model.variables] for model in self.models]

    def run(self, motivated: bool, **kwargs: Any) -> Outcome:
        """Trains both and compares the losses and metrics of each epoch, and all variables at the end.

        Args:
            motivated: Whether the motivated model races, under `motivation="always"`; else the base, under "never".
            **kwargs: Of `compile`.

        Returns:
            The `Outcome`.
        """
        stock = self.case.build(*self.case.sizes[motivated])
        restore(stock, self.start[motivated])
        try:
            expected = self.fit(stock, [ClearGradients()], **kwargs)
        except Exception as error:
            raise StockError(f"{type(error).__name__}: {error}") from error
        for model, start in zip(self.models, self.start):
            restore(model, start)
        history = self.fit(self.pair, motivation="always" if motivated else "never", **kwargs)
        assert history["motivated"] == [float(motivated)] * self.epochs
        found = [(deviation(history[name], series), name) for name, series in expected.items()]
        raced = self.pair.motivated if motivated else self.pair.base
        moved = False
        for actual, reference, start in zip(raced.variables, stock.variables, self.start[motivated]):
            found.append((deviation(numpy(actual), numpy(reference)), actual.path))
            moved = moved or not np.array_equal(numpy(reference), start)
        assert moved, "the stock model did not learn anything"
        return Outcome(*max(found, key=lambda pair: (pair[0] if np.isfinite(pair[0]) else np.inf, pair[1])))

    def fit(self, model: keras.Model, callbacks: Any = (), **kwargs: Any) -> dict[str, list[float]]:
        """Keras's own `fit`: that of KerasHub's tasks runs a preprocessor, of which these have none."""
        x, y, weights, loss = self.data
        if loss == "auto":  # the model knows its loss and its metrics
            objective = dict(getattr(self.case, "compiled", {}))
        else:  # KerasHub's tasks have metrics of their own unless told otherwise
            objective = {"loss": loss, "metrics": [], "weighted_metrics": ["mae" if loss == "mse" else "accuracy"]}
            if isinstance(loss, (dict, list, tuple)):
                objective |= {"metrics": None, "weighted_metrics": None}
        model.compile(**{"optimizer": optimizer(), **objective, "jit_compile": False, **kwargs})
        keras.utils.set_random_seed(2)  # Keras's dropout draws from the backend's own generator under PyTorch
        return keras.Model.fit(
            model,
            x,
            y,
            sample_weight=weights,
            batch_size=BATCH,
            epochs=self.epochs,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        ).history


class ClearGradients(keras.callbacks.Callback):
    """Clears what a stock model's own `fit` forgets under PyTorch.

    Keras keeps one parameter for all variables of the same path, as T5's two tables of positions, and so clears the
    gradient of one of them only.
    """

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if keras.backend.backend() == "torch":
            for variable in self.model.trainable_variables:
                variable.value.grad = None


def restore(model: keras.Model, values: list[np.ndarray]) -> None:
    """Sets all variables, seeds included, in the order of a model that was built alike."""
    assert [tuple(v.shape) for v in model.variables] == [value.shape for value in values]
    for variable, value in zip(model.variables, values):
        variable.assign(value)


def deviation(actual: Any, expected: Any) -> float:
    """The largest difference, relative to the largest expected value, or to a few steps of the optimizer.

    0.0 means equal bit for bit.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if np.array_equal(actual, expected):
        return 0.0
    actual, expected = actual.astype("float64"), expected.astype("float64")
    return float(np.max(np.abs(actual - expected)) / max(np.max(np.abs(expected)), 0.05))


def fit_both(which, optimizer, kind="both", epochs=2, fit_kwargs=None, **compile_kwargs):
    """Fits the stock model and the pair on the same data; returns (stock model, its part of the pair, histories)."""
    x, y = vectors()
    stock = pair_of(kind, mlp)[which]
    stock.compile(optimizer(), crossentropy(), metrics=["accuracy"], **compile_kwargs)
    arguments = {"batch_size": 4, "epochs": epochs, "shuffle": False, "verbose": 0, **(fit_kwargs or {})}
    expected = stock.fit(x, y, **arguments).history
    pair = km.MotivatedModel(*pair_of(kind, mlp), extension="random")
    motivation = km.Always() if which else km.Never()
    pair.compile(optimizer(), crossentropy(), metrics=["accuracy"], motivation=motivation, **compile_kwargs)
    before = [np.array(numpy(v)) for v in extension(pair)]
    history = pair.fit(x, y, **arguments).history
    return stock, pair, before, expected, history


def extension(pair):
    return [v for v in pair.variables if not any(v is b for b in pair.base.variables)]
