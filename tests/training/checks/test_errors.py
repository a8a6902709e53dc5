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
        (lambda: km.MotivatedModel(mlp(4, classes=3), mlp(6, classes=5)), ValueError, r"same outputs.*3, .*5, "),
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
            {"optimizer": keras.optimizers.SGD(0.1, gradient_accumulation_steps=4, clipnorm=1.0)},
            ValueError,
            "must not both accumulate.*Received: gradient_accumulation_steps=4, clipnorm=1.0",
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
    with pytest.raises(ValueError, match=r"same outputs.*3, .*5, "):
        km.MotivatedModel(*models)


def sequential(width, shape=(5,), **kwargs):
    return keras.Sequential(
        [keras.Input(shape), keras.layers.Dense(width, name="body", **kwargs), keras.layers.Dense(2, name="head")]
    )


def test_sequential_models_with_different_inputs():
    with pytest.raises(ValueError, match="same inputs"):
        km.MotivatedModel(sequential(3, (8, 5)), sequential(4, (9, 5)))
    km.MotivatedModel(sequential(3, (8, 5)), sequential(4, (None, 5)))  # an open dimension goes with any


def test_outputs_of_different_dtype():
    def model(width, dtype):
        inputs = keras.Input((5,))
        x = keras.layers.Dense(width, name="body")(inputs)
        return keras.Model(inputs, keras.layers.Dense(2, name="head", dtype=dtype)(x))

    with pytest.raises(ValueError, match=r"same outputs.*float32.*bfloat16"):
        km.MotivatedModel(model(3, "float32"), model(4, "mixed_bfloat16"))


def test_shared_layers():
    shared = keras.layers.RandomFlip(seed=1)

    def model(width):
        inputs = keras.Input((6, 6, 2))
        return keras.Model(inputs, keras.layers.Dense(width, name="head")(shared(inputs)))

    with pytest.raises(ValueError, match=r"must not share variables.*seed_generator_state"):
        km.MotivatedModel(model(3), model(3))


@pytest.mark.parametrize("which", [0, 1])
def test_a_layer_frozen_in_one_model_only(which):
    models = pair()
    model = km.MotivatedModel(*models)
    models[which].get_layer("hidden0").trainable = False
    with pytest.raises(ValueError, match=r"trainable in all models or in none.*'hidden0/kernel'"):
        model.compile("sgd", crossentropy())
    models[1 - which].get_layer("hidden0").trainable = False
    model.compile("sgd", crossentropy(), motivation="always")
    before = values(models[0].get_layer("hidden0"))
    x, y = vectors()
    model.fit(x, y, batch_size=4, verbose=0)
    for old, new in zip(before, values(models[0].get_layer("hidden0"))):
        np.testing.assert_array_equal(new, old)


def test_norm_constraints_on_widened_weights():
    norm = {"kernel_constraint": keras.constraints.MaxNorm(0.3, axis=[0, 1])}
    with pytest.raises(ValueError, match=r"stored in two pieces.*'.*body/kernel'"):
        km.MotivatedModel(sequential(3, **norm), sequential(4, **norm))
    km.MotivatedModel(sequential(3, **norm), sequential(3, **norm))
    by_channel = keras.constraints.MaxNorm(0.3)
    for by_entry in ("non_neg", lambda w: keras.ops.clip(w, -0.5, 0.5), by_channel):
        km.MotivatedModel(*(sequential(width, kernel_constraint=by_entry) for width in (3, 4)))


@pytest.mark.parametrize("widths", [(3, 3), (3, 4)])
@pytest.mark.parametrize("which", [0, 1])
def test_a_constraint_in_one_of_the_models_only(which, widths):
    arguments = [{}, {}]
    arguments[which] = {"kernel_constraint": "non_neg"}
    with pytest.raises(ValueError, match=r"same constraint in both models.*body/kernel.*NonNeg"):
        km.MotivatedModel(*(sequential(width, **kwargs) for width, kwargs in zip(widths, arguments)))
