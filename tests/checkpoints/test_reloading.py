"""A pair that Keras cannot save, or not load as it is, says so before training. The reference is Keras itself."""

import json
import time

import keras
import numpy as np
import pytest
from helpers import crossentropy, mlp, pair_of, vectors
from keras import layers

import keras_motivation as km

WARNS = "A pair of these models trains, and `save_weights` and `load_weights` work, but"


class WithoutConfig(keras.Model):
    """Its constructor takes a layer, so that Keras cannot make a config by itself."""

    def __init__(self, hidden):
        super().__init__()
        self.hidden, self.head = hidden, layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.hidden(x))


@keras.saving.register_keras_serializable("test_reloading")
class WithConfig(keras.Model):
    """As tutorials write it."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.hidden, self.head = layers.Dense(width, name="hidden"), layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.hidden(x))

    def get_config(self):
        return super().get_config() | {"width": self.width}


@keras.saving.register_keras_serializable("test_reloading")
class Forgetful(WithConfig):
    def get_config(self):
        return {"name": self.name}


@keras.saving.register_keras_serializable("test_reloading")
class Deeper(WithConfig):
    """Its config has not what a later version added."""

    def __init__(self, width, extra=False, **kwargs):
        super().__init__(width, **kwargs)
        self.extra = extra
        if extra:
            self.more = layers.Dense(3, name="more")

    def call(self, x):
        x = super().call(x)
        return x + self.more(x) if self.extra else x


@keras.saving.register_keras_serializable("test_reloading")
class DeeperInside(WithConfig):
    """The same, and it keeps no attribute of that name."""

    def __init__(self, width, features=3, **kwargs):
        super().__init__(width, **kwargs)
        self.more = layers.Dense(features, name="more")

    def call(self, x):
        return self.more(super().call(x))

    def build(self, shape):
        self.hidden.build(shape)
        self.head.build((None, self.width))
        self.more.build((None, 3))


class Unregistered(layers.Dense):
    pass


@keras.saving.register_keras_serializable("test_reloading")
class Registered(layers.Dense):
    pass


def halved(x):
    return x / 2


@keras.saving.register_keras_serializable("test_reloading")
def doubled(x):
    return x * 2


def built(model):
    model(np.zeros((2, 5), "float32"))
    return model


def built_alike(model):
    """As Keras builds it again from its config."""
    model.build((None, 5))
    return built(model)


def graph(*inside):
    return keras.Sequential([keras.Input((5,)), *inside, layers.Dense(3, name="head")])


# By kind: the model of a width, what the warning says, and what Keras's own saving (or loading) of it says.
FAULTS = {
    "no config": (
        lambda width: built(WithoutConfig(layers.Dense(width, name="hidden"))),
        "`save` does not, .*`save` fails with NotImplementedError",
        NotImplementedError,
    ),
    "a constructor that needs more": (
        lambda width: built(Forgetful(width)),
        r"the config of `Forgetful` does not fit its constructor \(missing a required argument: 'width'\)",
        TypeError,
    ),
    "a config that leaves out an attribute": (
        lambda width: built(Deeper(width, extra=True)),
        "`Deeper` leaves out `extra`: the loaded model would have extra=False instead of True",
        None,  # worse: it loads another model without a word
    ),
    "a config that leaves out an argument": (
        lambda width: built_alike(DeeperInside(width, features=4)),
        "`DeeperInside` leaves out `features`: the loaded model would have other shapes",
        ValueError,
    ),
    "a class that is not registered": (
        lambda width: graph(Unregistered(width, name="hidden")),
        "does not load as it is, .*class `Unregistered` is not registered",
        TypeError,
    ),
    "a function that is not registered": (
        lambda width: graph(layers.Dense(width, halved, name="hidden")),
        "function `.*halved` is not registered",
        TypeError,
    ),
    "a lambda": (
        lambda width: graph(layers.Dense(width, name="hidden"), layers.Lambda(lambda x: x / 2)),
        "Python lambda; .*safe_mode=False",
        ValueError,
    ),
    "a layer deep inside": (
        lambda width: keras.Sequential([keras.Input((5,)), graph(Unregistered(width, name="hidden"))]),
        "class `Unregistered` is not registered",
        TypeError,
    ),
}
SOUND = {
    "functional": mlp,
    "subclassed": lambda width: built(WithConfig(width)),
    "registered": lambda width: graph(Registered(width, doubled, name="hidden")),
    "all as by default": lambda width: built(Deeper(width)),
    "Keras's own function": lambda width: graph(layers.Dense(width, keras.ops.relu, name="hidden")),
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
def test_stock_keras_fails_so_the_pair_warns(kind, tmp_path):
    build, message, error = FAULTS[kind]

    def save_and_load():
        model, x = build(4), vectors()[0]
        model.save(tmp_path / "alone.keras")
        loaded = keras.models.load_model(tmp_path / "alone.keras")
        return np.max(np.abs(loaded.predict(x, verbose=0) - model.predict(x, verbose=0)))

    if error is None:
        assert save_and_load() > 0.01
    else:
        with pytest.raises(error):
            save_and_load()
    with pytest.warns(UserWarning, match=f"(?s){WARNS} .*{message}"):
        km.MotivatedModel(build(4), build(6))


@pytest.mark.filterwarnings(f"error:{WARNS}:UserWarning")
@pytest.mark.parametrize("kind", SOUND)
def test_stock_keras_saves_and_loads_so_there_is_no_warning(kind, tmp_path):
    pair = km.MotivatedModel(SOUND[kind](4), SOUND[kind](6))
    pair.save(tmp_path / "pair.keras")
    keras.models.load_model(tmp_path / "pair.keras")


@pytest.mark.filterwarnings(f"error:{WARNS}:UserWarning")
def test_custom_objects(tmp_path):
    """What the warnings advise works, and then there is no warning."""
    build = FAULTS["a class that is not registered"][0]
    with pytest.warns(UserWarning, match=WARNS):
        pair = km.MotivatedModel(build(4), build(6))
    pair.save(tmp_path / "pair.keras")
    found = keras.models.load_model(tmp_path / "pair.keras", custom_objects={"Unregistered": Unregistered})
    assert type(found.base.layers[0]) is Unregistered
    with keras.saving.custom_object_scope({"Unregistered": Unregistered}):
        km.MotivatedModel(build(4), build(6))


@pytest.mark.parametrize("kind", FAULTS)
def test_such_a_pair_trains_and_keeps_its_weights(kind, tmp_path):
    build = FAULTS[kind][0]
    pair, other = (km.MotivatedModel(build(4), build(6)) for _ in range(2))
    x, y = vectors()
    for model in (pair, other):
        model.compile("adam", crossentropy(), motivation="always")
    backup = [km.BackupAndRestore(tmp_path / "backup")]
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "pair.weights.h5"), save_weights_only=True)
    pair.fit(x, y, batch_size=8, verbose=0, callbacks=[*backup, checkpoint])
    other.load_weights(tmp_path / "pair.weights.h5")
    np.testing.assert_array_equal(pair.predict(x, verbose=0), other.predict(x, verbose=0))


def test_a_checkpoint_that_would_fail_is_refused_before_the_first_batch(tmp_path):
    build = FAULTS["no config"][0]
    pair = km.MotivatedModel(build(4), build(6))
    pair.compile("adam", crossentropy())
    start = keras.ops.convert_to_numpy(pair.base.trainable_variables[0])
    x, y = vectors()
    with pytest.raises(ValueError, match=r"must not have a `ModelCheckpoint` .*save_weights_only.*NotImplementedError"):
        pair.fit(x, y, verbose=0, callbacks=[[keras.callbacks.ModelCheckpoint(str(tmp_path / "pair.keras"))]])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(pair.base.trainable_variables[0]), start)
    sound = km.MotivatedModel(*pair_of("both", mlp))
    sound.compile("adam", crossentropy())
    sound.fit(x, y, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(str(tmp_path / "pair.keras"))])
    with pytest.raises(ValueError, match=r"must end in `\.keras`"):
        sound.fit(x, y, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(str(tmp_path / "pair.h5"))])


def test_a_checkpoint_of_another_model_is_its_own_affair(tmp_path):
    """Here of the base alone, as a user writes it who wants that file."""

    class OfTheBase(keras.callbacks.ModelCheckpoint):
        def set_model(self, model):
            super().set_model(model.base)

    pair = km.MotivatedModel(*pair_of("both", mlp))
    pair.compile("adam", crossentropy())
    pair.fit(*vectors(), verbose=0, callbacks=[OfTheBase(str(tmp_path / "base.keras"))])
    keras.models.load_model(tmp_path / "base.keras")


@pytest.mark.slow
def test_what_it_costs():
    """The check reads configs only: for a model of several hundred layers, a fraction of a second."""
    from keras_motivation.checkpoints.reloading import faults_of

    model = keras.applications.EfficientNetB3(weights=None, input_shape=(64, 64, 3), classes=10)
    start = time.perf_counter()
    assert faults_of([model]) == []
    assert time.perf_counter() - start < 1
    assert len(json.dumps(model.get_config())) > 10_000
