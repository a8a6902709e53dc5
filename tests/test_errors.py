"""Bad input: a clear error that names what came, before any training."""

import keras
import numpy as np
import pytest
from helpers import crossentropy, mlp, pair_of, resnet, values, vectors

import keras_motivation as km


def pair():
    return pair_of("both", mlp)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: km.MotivatedModel(mlp(6, 2), mlp(4, 1)), ValueError, "are the two swapped"),
        (lambda: km.MotivatedModel(mlp(4, 2), mlp(6, 1)), ValueError, "layer 'norm1' with 4 weights has no partner"),
        (lambda: km.MotivatedModel(mlp(8, 1), mlp(6, 4)), ValueError, r"'first/kernel' \(5, 8\) against .*\(5, 6\)"),
        (lambda: km.MotivatedModel(mlp(4, classes=3), mlp(6, classes=5)), ValueError, r"same outputs.*3\).*5\)"),
        (lambda: km.MotivatedModel(mlp(4, features=5), mlp(6, features=7)), ValueError, r"same inputs.*5\).*7\)"),
        (lambda: km.MotivatedModel(keras.Sequential(), mlp(6)), ValueError, "`base` must be a built model"),
        (lambda: km.MotivatedModel(mlp(4), keras.Sequential([keras.layers.Dense(3)])), ValueError, "`motivated` must"),
        (lambda: km.MotivatedModel("base", mlp(4)), TypeError, "`base` must be a `keras.Model`. Received: base='base'"),
        (lambda: km.MotivatedModel(mlp(4), mlp(6), {"a": "b"}), TypeError, "must be a `WeightsMap` or None"),
        (
            lambda: km.MotivatedModel(*pair(), weights_map=km.WeightsMap.infer(*pair())),
            ValueError,
            "must have been made for these two models",
        ),
        (lambda: km.MotivatedModel(mlp(4), resnet(6)), ValueError, "same inputs"),
    ],
)
def test_construction_refuses(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_refused_pair_is_left_as_it_was():
    base, motivated = mlp(4, 2), mlp(6, 1)
    before = values(motivated)
    with pytest.raises(ValueError, match="no partner"):
        km.MotivatedModel(base, motivated)
    for old, new in zip(before, values(motivated)):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"motivation": "sometimes"}, ValueError, "must name one of.*Received: motivation='sometimes'"),
        ({"motivation": 0.5}, TypeError, "Received: motivation=0.5"),
        (
            {"optimizer": keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)},
            ValueError,
            "must not accumulate gradients.*Received: gradient_accumulation_steps=4",
        ),
        (
            {
                "optimizer": keras.optimizers.LossScaleOptimizer(
                    keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
                )
            },
            ValueError,
            "must not accumulate gradients",
        ),
    ],
)
def test_compile_refuses_and_keeps_the_former_configuration(kwargs, error, message):
    model = km.MotivatedModel(*pair())
    model.compile("sgd", crossentropy(), motivation="always")
    optimizer, condition = model.optimizer, model.motivation
    with pytest.raises(error, match=message):
        model.compile(**{"loss": "mse", **kwargs})
    assert model.optimizer is optimizer
    assert model.motivation is condition
    x, y = vectors()
    model.fit(x, y, verbose=0)


def test_k_below_one():
    with pytest.raises(ValueError, match="Received: k=0"):
        km.LossStreak(k=0)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_missing_compile(method):
    x, y = vectors()
    with pytest.raises(ValueError, match="compile"):
        getattr(km.MotivatedModel(*pair()), method)(x, y)


def test_missing_loss():
    x, y = vectors()
    model = km.MotivatedModel(*pair())
    model.compile("sgd", motivation="always")
    if keras.backend.backend() == "jax":  # Keras itself lets a model without loss train on nothing there
        assert model.fit(x, y, verbose=0).history["loss"] == [0.0]
        return
    with pytest.raises(ValueError, match="No loss to compute"):
        model.fit(x, y, verbose=0)


def test_different_outputs_of_subclassed_models():
    class Net(keras.Model):
        def __init__(self, width, classes):
            super().__init__()
            self.body, self.head = keras.layers.Dense(width), keras.layers.Dense(classes)

        def call(self, x):
            return self.head(self.body(x))

    models = [Net(4, 3), Net(6, 5)]
    for model in models:
        model(np.ones((1, 5), "float32"))
    with pytest.raises(ValueError, match=r"same outputs.*3\).*5\)"):
        km.MotivatedModel(*models)
