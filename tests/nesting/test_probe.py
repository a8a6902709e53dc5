"""The probe: right maps are exact, wrong ones differ, and it says so where it can prove nothing."""

import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest
from families import attention_net
from helpers import mlp, resnet, values
from keras import layers, ops

import keras_motivation as km
from keras_motivation.nesting.numeric_check.probe import Probe
from keras_motivation.nesting.numeric_check.report import Verdict


class Reverses(keras.Model):
    """A subclassed model with an operation that no rule follows: it reverses the channels."""

    def __init__(self, width):
        super().__init__()
        self.conv, self.flat, self.head = layers.Conv2D(width, 3, name="c"), layers.Flatten(), layers.Dense(2, name="h")

    def call(self, x):
        return self.head(self.flat(ops.flip(self.conv(x), axis=-1)))


def built(model, shape=(2, 5, 5, 3)):
    model(np.zeros(shape, "float32"))
    return model


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


def test_a_reordered_tensor_that_no_rule_follows_is_refused():
    models = built(Reverses(4)), built(Reverses(6))
    with pytest.raises(
        ValueError, match=r"outputs differ by \d.* \(first those of layer '.*/h'\).* all layers match.*check=False"
    ):
        km.MotivatedModel(*models)
    weights_map = km.WeightsMap.infer(*models, check=False)
    assert weights_map.verify().nesting == "differs"
    with pytest.raises(ValueError, match="differ"):
        km.MotivatedModel(built(Reverses(4)), built(Reverses(6)), None)


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
    with pytest.warns(UserWarning, match=r"cannot be silenced: .* differ by \d.*new layers \(d1\)") as caught:
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

    models = blind(3), blind(5)
    with pytest.raises(ValueError, match=r"vary by .* across generated inputs, which proves nothing\. Pass .*x=batch"):
        km.WeightsMap.infer(*models)
    verdict = km.WeightsMap.infer(*models, check=False).verify()
    assert verdict.nesting == "unknown"
    assert not verdict.nested


class TakesPairs(keras.Model):
    """Inputs that cannot be generated from what Keras knows of a subclassed model."""

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
    with pytest.raises(
        ValueError, match=r"cannot be generated.*Pass .*`MotivatedModel\(\.\.\., x=batch\)`.*check=False"
    ):
        km.MotivatedModel(*models)
    assert km.WeightsMap.infer(*models, x=x).verdict.nesting == "exact"
    model = km.MotivatedModel(*models, x=x)
    assert model.extension == "silent"
    np.testing.assert_allclose(model.motivated.predict(x, verbose=0), model.base.predict(x, verbose=0), atol=1e-5)
    weights_map = km.WeightsMap.infer(*models, check=False)
    assert weights_map.verify(x).nesting == "exact"
    with pytest.raises(ValueError, match=r"cannot be generated: .*Received: x=None"):
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


@pytest.mark.usefixtures("float64")
def test_what_keras_rounds_in_double_precision_is_no_difference():
    def net(width):
        inputs = keras.Input((6, 6, 3))
        x = layers.GlobalAveragePooling2D(name="mean")(layers.Conv2D(width, 3, name="wide")(inputs))
        return keras.Model(inputs, layers.Dense(4, name="head")(layers.Dense(width, name="dense")(x)))

    weights_map = km.WeightsMap.infer(net(4), net(7))
    assert {weights_map.verify(seed=seed).nesting for seed in range(20)} == {"exact"}
    if keras.backend.backend() != "tensorflow":  # should this fail, Keras does better, and so may the probe
        x = np.random.default_rng(0).normal(size=(4, 9, 9, 3))
        means = ops.convert_to_numpy(layers.GlobalAveragePooling2D()(x))
        assert np.abs(means - x.mean((1, 2))).max() > 1e-12


def test_no_warning_for_an_ordinary_pair():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert km.MotivatedModel(resnet(4, 1), resnet(6, 2)).extension == "silent"


def classifier(how, activation, width=4):
    stack = [layers.Dense(width, "relu", name="d"), layers.Dense(3, activation=activation, name="head")]
    if how == "sequential":
        return keras.Sequential([keras.Input((4,)), *stack])
    inputs = keras.Input((4,))
    return keras.Model(inputs, stack[1](stack[0](inputs)))


def test_how_a_model_is_written_does_not_matter_and_its_last_activation_does():
    for how in ("functional", "sequential"):
        weights_map = km.WeightsMap.infer(classifier("functional", "softmax"), classifier(how, "softmax", 6))
        assert weights_map.verdict.nesting == "exact"
    for other in (None, "sigmoid"):
        with pytest.raises(ValueError, match="layers of the same name compute different things"):
            km.WeightsMap.infer(classifier("functional", "softmax"), classifier("functional", other, 6))


def test_a_wrong_map_is_refused_also_if_blocks_were_added():
    def net(width, blocks, activation):
        inputs = keras.Input((4, 4, 3))
        x = layers.Conv2D(width, 1, activation=activation, name="stem")(inputs)
        for i in range(blocks):
            x = layers.Add()([x, layers.Conv2D(width, 1, name=f"c{i}")(x)])
        return keras.Model(inputs, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))

    assert km.WeightsMap.infer(net(4, 1, "relu"), net(6, 2, "relu")).verdict.nested
    with pytest.raises(ValueError, match="layers of the same name compute different things"):
        km.WeightsMap.infer(net(4, 1, "relu"), net(6, 2, "gelu"))


def test_the_users_word_is_taken_and_the_extension_silenced_where_it_can_be():
    models = TakesPairs(3), TakesPairs(5)
    x = {side: np.random.default_rng(i).normal(size=(40, 4)) for i, side in enumerate(("left", "right"))}
    for model in models:
        model(x)
    with pytest.warns(UserWarning, match="not silent: .*cannot be generated") as caught:
        model = km.MotivatedModel(*models, km.WeightsMap.infer(*models, check=False))
    # The other one is of the classes here, which are not registered.
    assert [w.filename for w in caught if w.category is UserWarning] == [__file__, __file__]
    assert model.extension == "random"
    assert km.MotivatedModel(*models, km.WeightsMap.infer(*models, check=False), x=x).extension == "silent"
    assert km.MotivatedModel(*models, km.WeightsMap.infer(*models, check=False, x=x)).extension == "silent"


NO_BATCH = {
    "one sample": (np.zeros((1, 4)), r"at least 2 samples\. Received: arrays of \[1\] samples"),
    "equal samples": (np.ones((20, 4)), "samples that differ.*the first 16 of `x` are equal"),
    "sizes": ({"left": np.ones((2, 4)), "right": np.ones((3, 4))}, r"arrays of \[2, 3\] samples"),
    "scalar": (3.0, "Argument `x` must be a batch of inputs"),
    "a name": ("data.csv", "Argument `x` must be .*Received: x=<str>"),
}


@pytest.mark.parametrize("kind", NO_BATCH)
def test_what_is_no_batch(kind):
    x, message = NO_BATCH[kind]
    with pytest.raises(ValueError, match=message):
        km.WeightsMap.infer(mlp(4, 1), mlp(6, 1), x=x)


class Reads(keras.Model):
    """Text in a subclassed model, of which Keras knows the shape but not that it takes integers."""

    def __init__(self, words, width):
        super().__init__()
        self.table, self.pool = layers.Embedding(words, width, name="table"), layers.GlobalAveragePooling1D()
        self.head = layers.Dense(2, name="head")

    def call(self, x):
        return self.head(self.pool(self.table(x)))


def test_subclassed_models_that_read_words():
    """Made-up numbers below zero would be looked up from the table's end, which is another one in a longer table."""
    models = built(Reads(5, 3), (2, 6)), built(Reads(8, 4), (2, 6))
    assert km.WeightsMap.infer(*models).verdict.nesting == "exact"


class Turned(keras.Model):
    """Widened channels in another order, which happens to change little with some weights."""

    def __init__(self, width):
        super().__init__()
        self.body, self.head = layers.Dense(width, name="body"), layers.Dense(1, name="head")

    def call(self, x):
        return self.head(ops.flip(self.body(x), axis=-1))


@pytest.mark.parametrize("lucky", [0.0, 0.004, 0.04])
def test_models_that_agree_but_roughly_are_asked_again(lucky, monkeypatch):
    weights_map = km.WeightsMap.infer(built(Turned(2), (2, 5)), built(Turned(4), (2, 5)), check=False)
    compared, errors = Probe._compared, []

    def first_by_luck(probe):
        found = compared(probe)
        errors.append(found.error)
        return replace(found, nesting="exact", error=lucky) if len(errors) == 1 else found

    monkeypatch.setattr(Probe, "_compared", first_by_luck)
    assert weights_map.verify().nested == (lucky == 0)  # an exact agreement is not doubted
    assert len(errors) == (3 if lucky else 1)


@pytest.mark.parametrize(("errors", "draws"), [([0.0], 1), ([0.01, 0.02, 0.03], 3), ([0.01, 0.3, 0.02, 0.03], 4)])
def test_draws_are_asked_until_most_agree(errors, draws, monkeypatch):
    weights_map = km.WeightsMap.infer(built(Turned(2), (2, 5)), built(Turned(4), (2, 5)), check=False)
    trials, asked = [], iter(errors)

    def compared(probe):
        trials.append(probe._run)
        error = next(asked)
        return Verdict("exact" if error < 0.05 else "differs", error, 1.0)

    monkeypatch.setattr(Probe, "_compared", compared)
    found = weights_map.verify()
    assert found.nested
    assert found.error == sorted(errors)[len(errors) // 2]
    assert len(trials) == draws
    assert len({id(t) for t in trials}) == 1  # nothing is compiled again


class Noise(layers.Layer):
    def __init__(self, seed, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.seed_generator)


def test_random_outputs_prove_nothing():
    def noisy(width, seed):
        inputs = keras.Input((4,))
        return keras.Model(inputs, layers.Dense(2, name="head")(Noise(seed)(layers.Dense(width, name="d")(inputs))))

    models = noisy(3, 1), noisy(5, 2)
    with pytest.raises(ValueError, match="the base's outputs are random even in inference mode"):
        km.WeightsMap.infer(*models)
    assert km.WeightsMap.infer(*models, check=False).verify().nesting == "unknown"


def made_of(inputs, *stack):
    return keras.Sequential([inputs, *stack, layers.Dense(2, name="head")])


INPUTS = {
    "bytes": lambda w: made_of(
        keras.Input((4, 4, 3), dtype="uint8"),
        layers.Rescaling(1 / 255),
        layers.Conv2D(w, 1, name="c"),
        layers.GlobalAveragePooling2D(),
    ),
    "large vocabulary": lambda w: made_of(
        keras.Input((None,), dtype="int32"),
        layers.Embedding(5000, w, mask_zero=True, name="e"),
        layers.Bidirectional(layers.LSTM(3, name="l"), name="b"),
    ),
    "long sequences": lambda w: made_of(
        keras.Input((None, 1)),
        *[layers.Conv1D(w, 7, strides=2, name=f"c{i}") for i in range(2)],
        layers.GlobalAveragePooling1D(),
    ),
    "fixed batch": lambda w: made_of(keras.Input(batch_shape=(6, 4)), layers.Dense(w, name="d")),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_generated_inputs_suit_the_model(kind):
    assert km.WeightsMap.infer(INPUTS[kind](4), INPUTS[kind](6)).verdict.nesting == "exact"


def test_a_layer_with_a_call_of_its_own_keeps_it():
    models = mlp(4, 1), mlp(6, 1)
    norm = models[0].get_layer("norm0")
    own = norm.call
    norm.call = lambda *args, **kwargs: own(*args, **kwargs)
    mine = norm.call
    assert km.WeightsMap.infer(*models).verdict.nested
    assert norm.call is mine


@pytest.mark.usefixtures("mixed_float16")
class Halves(keras.layers.Layer):
    """Asks for values, which no program that is compiled beforehand can give."""

    def call(self, x):
        return x / 2 if float(ops.convert_to_numpy(x).max()) > 1 else x

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


def test_a_model_that_looks_at_values_is_checked_too():
    def net(width):
        inputs = keras.Input((3,))
        x = Halves()(layers.Dense(width, name="first")(inputs))
        return keras.Model(inputs, layers.Dense(2, name="last")(x))

    assert km.WeightsMap.infer(net(2), net(2)).verdict.nesting == "exact"


def test_half_precision():
    model = km.MotivatedModel(attention_net(8, 2), attention_net(8, 2, 2))
    assert model.weights_map.verdict.nesting == "exact"
    assert model.extension == "silent"
