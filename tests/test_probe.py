"""The probe: right maps are exact, wrong ones differ, and it says so where it can prove nothing."""

import warnings

import keras
import numpy as np
import pytest
from helpers import mlp, resnet, values
from keras import layers, ops

import keras_motivation as km


class Flattens(keras.Model):
    """A subclassed model, into which no graph check can see: a convolution, flattened before the head."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.flat, self.head = layers.Conv2D(width, 3, name="c"), layers.Flatten(), layers.Dense(2, name="h")

    def call(self, x):
        return self.head(self.flat(self.conv(x)))


def built(model, shape=(2, 5, 5, 3)):
    model(np.zeros(shape, "float32"))
    return model


def attention_net(width, heads, depth=1):
    """A pre-norm transformer whose width, heads and depth can be extended."""
    inputs = keras.Input((6, 3))
    x = layers.Dense(width, name="embed")(inputs)
    for i in range(depth):
        y = layers.LayerNormalization(name=f"norm{i}")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, 4, name=f"attention{i}")(y, y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(name="norm")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))


@pytest.mark.parametrize(
    ("base", "motivated", "nesting"),
    [
        (lambda: resnet(4, 1), lambda: resnet(6, 3), "exact"),
        (lambda: mlp(4, 1), lambda: mlp(6, 2), "exact"),
        (lambda: attention_net(8, 2), lambda: attention_net(8, 3, 2), "exact"),
        (lambda: attention_net(8, 2), lambda: attention_net(12, 3, 2), "up to layer norm"),
        (lambda: resnet(4, 10), lambda: resnet(4, 12), "exact"),
    ],
)
def test_right_maps(base, motivated, nesting):
    verdict = km.WeightsMap.infer(base(), motivated()).verdict
    assert verdict.nesting == nesting
    assert verdict.error < 1e-3
    assert verdict.variation > 0.01  # or the comparison proved nothing
    assert verdict.nested


def test_a_reordered_tensor_that_no_graph_shows_is_refused():
    models = built(Flattens(4)), built(Flattens(6))
    with pytest.raises(ValueError, match=r"outputs differ by \d+% .* all layers\s+match.*check=False"):
        km.MotivatedModel(*models)
    weights_map = km.WeightsMap.infer(*models, check=False)
    assert weights_map.verify().nesting == "differs"
    with pytest.raises(ValueError, match="differ"):
        km.MotivatedModel(built(Flattens(4)), built(Flattens(6)), None)


def test_explicit_maps_can_be_verified():
    """A base in every second channel is right only if all weights agree on it."""
    base, motivated = mlp(4, 0), mlp(8, 0)
    (kernel, bias, head, last), outer = base.weights, motivated.weights
    even, odd = np.arange(0, 8, 2), np.arange(1, 8, 2)
    for channels, nesting in ((even, "exact"), (odd, "differs")):
        entries = [
            (kernel, outer[0], (slice(None), even)),
            (bias, outer[1], (even,)),
            (head, outer[2], (channels, slice(None))),
            (last, outer[3]),
        ]
        assert km.WeightsMap(base, motivated, entries).verify().nesting == nesting


def test_the_models_stay_as_they_are():
    models = attention_net(8, 2), attention_net(12, 3, 2)
    seen = [values(model) for model in models]
    activations = [model.layers[-1].activation for model in models]
    verdict = km.WeightsMap.infer(*models).verify(seed=3)
    assert verdict.nesting == "up to layer norm"
    for model, before, activation in zip(models, seen, activations):
        for value, expected in zip(values(model), before):
            np.testing.assert_array_equal(value, expected)
        assert model.layers[-1].activation is activation
        assert not any("call" in vars(layer) for layer in model._flatten_layers())


def plain(depth):
    return keras.Sequential(
        [
            keras.Input((4,)),
            *[layers.Dense(4, "relu", name=f"d{i}") for i in range(depth)],
            layers.Dense(2, name="head"),
        ]
    )


def test_what_cannot_be_silenced_is_allowed_with_one_warning():
    with pytest.warns(UserWarning, match=r"cannot be silenced: .* differ by \d+% .*New layers \(d1\)") as caught:
        model = km.MotivatedModel(plain(1), plain(2))
    assert len([w for w in caught if w.category is UserWarning]) == 1
    assert model.extension == "random"
    model.compile("sgd", "mse", motivation="always")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)


def test_outputs_that_hardly_vary_prove_nothing():
    def blind(width):
        inputs = keras.Input((4,))
        x = layers.Rescaling(1e-9)(layers.Dense(width, name="d")(inputs))
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    with pytest.warns(UserWarning, match="vary by .* of their size across made-up inputs, which proves nothing"):
        weights_map = km.WeightsMap.infer(blind(3), blind(5))
    assert weights_map.verdict.nesting == "unknown"
    assert not weights_map.verdict.nested


class TakesPairs(keras.Model):
    """Inputs that cannot be made up from what Keras knows of a subclassed model."""

    def __init__(self, width):
        super().__init__()
        self.d, self.head = layers.Dense(width, name="d"), layers.Dense(2, name="head")

    def call(self, x):
        return self.head(ops.relu(self.d(x["left"] - x["right"])))


def test_inputs_of_the_users_own():
    x = {
        side: np.random.default_rng(i).normal(size=(5, 4)).astype("float32") for i, side in enumerate(("left", "right"))
    }
    models = TakesPairs(3), TakesPairs(5)
    for model in models:
        model(x)
    with pytest.warns(UserWarning, match="checked by names and shapes only.*`verify`"):
        weights_map = km.WeightsMap.infer(*models)
    assert weights_map.verdict is None
    assert weights_map.verify(x).nesting == "exact"
    with pytest.raises(ValueError, match=r"cannot be made up: .*Received: x=None"):
        weights_map.verify()


def test_integer_inputs():
    def text(width):
        inputs = keras.Input((None,), dtype="int32")
        x = layers.GlobalAveragePooling1D()(layers.Embedding(20, width, name="tokens")(inputs))
        return keras.Model(inputs, layers.Dense(2, name="head")(x))

    assert km.WeightsMap.infer(text(4), text(6)).verdict.nesting == "exact"


@pytest.mark.usefixtures("float64")
def test_double_precision_is_compared_tightly():
    verdict = km.WeightsMap.infer(resnet(4, 1), resnet(6, 2)).verdict
    assert verdict.nesting == "exact"
    assert verdict.error < 1e-9


def test_no_warning_for_an_ordinary_pair():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert km.MotivatedModel(resnet(4, 1), resnet(6, 2)).extension == "silent"
