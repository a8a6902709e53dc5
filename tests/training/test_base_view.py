"""What a pair answers about itself, where it is refused with advice, and what it says as a part of another model."""

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, mlp, pair_of, values, vectors
from keras import layers

import keras_motivation as km


def trained():
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp), extension="random")
    model.compile("sgd", crossentropy(), motivation=Alternate())
    model.fit(x, y, batch_size=4, verbose=0)
    return model


@pytest.fixture(scope="module")
def pair():
    return trained()


def test_inputs_and_outputs_are_the_bases(pair):
    x, _ = vectors()
    for name in ("inputs", "outputs", "input", "output", "input_shape", "output_shape", "output_names"):
        assert getattr(pair, name) == getattr(pair.base, name), name
    features = keras.Model(pair.inputs, pair.base.get_layer("head").input)
    assert features.predict(x, verbose=0).shape == (32, 4)
    np.testing.assert_array_equal(
        keras.Model(pair.input, pair.output).predict(x, verbose=0), pair.predict(x, verbose=0)
    )


def test_a_sequential_or_subclassed_base_answers_as_it_does_by_itself():
    def sequential(width):
        return keras.Sequential([keras.Input((5,)), layers.Dense(width, name="a"), layers.Dense(3, name="b")])

    class Sub(keras.Model):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = layers.Dense(width), layers.Dense(3)

        def call(self, x):
            return self.b(self.a(x))

    pair = km.MotivatedModel(sequential(3), sequential(4))
    assert (pair.input_shape, pair.output_shape) == ((None, 5), (None, 3))
    assert pair.inputs == pair.base.inputs
    models = [Sub(3), Sub(4)]
    for model in models:
        model(np.ones((1, 5), "float32"))
    pair = km.MotivatedModel(*models)
    assert not any(hasattr(pair, name) or hasattr(pair.base, name) for name in ("inputs", "outputs", "input_shape"))


@pytest.mark.parametrize("statistics", ["private", "shared"])
def test_parameters_are_counted_once(statistics):
    for kind in ("depth", "width", "both"):
        models = pair_of(kind, mlp)
        pair = km.MotivatedModel(*models, statistics=statistics)
        # Of moving means and variances, each model has its own, or the motivated model's hold the base's.
        private = sum(int(np.prod(v.shape)) for v in models[0].non_trainable_weights)
        assert pair.count_params() == models[1].count_params() + (private if statistics == "private" else 0)


def test_export_is_refused_with_advice(pair, tmp_path):
    with pytest.raises(NotImplementedError, match=r"export `model.base` or `model.motivated`"):
        pair.export(tmp_path / "exported")


@pytest.mark.parametrize("ending", [".h5", ".hdf5"])
def test_the_old_file_format_is_refused(pair, tmp_path, ending):
    path = tmp_path / f"pair{ending}"
    with pytest.raises(ValueError, match=r"must end in `.keras`.*Received: filepath='.*pair"):
        pair.save(path)
    assert not path.exists()
    with pytest.raises(ValueError, match="must end in"):
        keras.saving.save_model(pair, path)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
def test_a_file_of_one_model_says_where_it_belongs(pair, tmp_path, ending):
    path = str(tmp_path / f"one{ending}")
    before = [*values(pair), *values(pair.motivated)]
    for model, advice in (
        (pair.base, r"of the base alone.*`pair.base.load_weights\(...\)`"),
        (pair.motivated, r'of the motivated model alone.*`initialize="motivated"`.*copy_to_base'),
    ):
        model.save(path) if ending == ".keras" else model.save_weights(path)
        with pytest.raises(ValueError, match=advice):
            pair.load_weights(path)
    mlp(3).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="could not be loaded"):  # Keras's own words
        pair.load_weights(tmp_path / "other.weights.h5")
    for old, new in zip(before, [*values(pair), *values(pair.motivated)]):
        np.testing.assert_array_equal(new, old)


ONLY_THE_BASE = "The pair '.*' is trained as a part of another model, which trains its base alone"


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
def test_as_a_layer_of_another_model():
    x, _ = vectors()
    pair = trained()
    inputs = keras.Input((5,))
    model = keras.Model(inputs, layers.Dense(1)(pair(inputs)))
    model.compile("sgd", "mse")
    model.predict(x, verbose=0)  # no training, no warning
    with pytest.warns(UserWarning, match=ONLY_THE_BASE) as caught:
        model.fit(x, np.ones((32, 1)), batch_size=8, epochs=2, verbose=0)
    assert len([w for w in caught if "as a part of" in str(w.message)]) == 1
    pair.fit(*vectors(), verbose=0)  # its own training goes on, without a word


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
def test_as_a_student():
    x, y = vectors()
    pair = trained()
    distiller = keras.distillation.Distiller(
        teacher=mlp(), student=pair, distillation_losses=keras.distillation.LogitsDistillation()
    )
    distiller.compile("sgd", loss=crossentropy())
    with pytest.warns(UserWarning, match=ONLY_THE_BASE):
        distiller.fit(x, y, verbose=0)
    distiller = keras.distillation.Distiller(
        teacher=pair, student=mlp(), distillation_losses=keras.distillation.LogitsDistillation()
    )
    distiller.compile("sgd", loss=crossentropy())
    distiller.fit(x, y, verbose=0)  # of a teacher, nothing is to be said
