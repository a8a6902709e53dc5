"""Saving and loading: the pair with all it carries, and each model as a plain Keras file."""

import keras
import numpy as np
import pytest
from helpers import (
    Alternate,
    assert_same_weights,
    crossentropy,
    mlp,
    numpy,
    pair_of,
    randomise,
    resnet,
    values,
    vectors,
)
from processes import another_backend, run

import keras_motivation as km


def trained(motivation=None, epochs=2, build=mlp):
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", build))
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 100), clipnorm=1.0),
        crossentropy(),
        metrics=["accuracy"],
        motivation=motivation or km.LossStreak(1),
        evaluate_motivated=True,
    )
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return model


def state(model):
    return [numpy(v) for v in [*model.variables, *model.optimizer.variables]]


def assert_same_state(model, reference):
    for v, actual, expected in zip(reference.variables, state(model), state(reference)):
        np.testing.assert_array_equal(actual, expected, err_msg=v.path)
    assert len(state(model)) == len(state(reference))


@pytest.mark.parametrize("motivation", [km.LossStreak(1), km.RandomActivation(0.5, seed=3), Alternate()])
def test_a_loaded_pair_goes_on_as_if_it_had_never_been_saved(tmp_path, motivation):
    x, y = vectors()
    model = trained(motivation)
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert isinstance(loaded, km.MotivatedModel)
    assert loaded.motivation.get_config() == model.motivation.get_config()
    assert_same_state(loaded, model)
    assert_same_weights(loaded.motivated, model.motivated, rtol=0, atol=0)
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    ends = [m.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history for m in (model, loaded)]
    assert ends[0] == ends[1]
    assert_same_state(loaded, model)


def test_compile_arguments_survive(tmp_path):
    model = km.MotivatedModel(*pair_of("both", mlp))
    model.compile("sgd", "mse", metrics=["mae"], loss_weights=[2.0], motivation="never", evaluate_motivated=False)
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert isinstance(loaded.motivation, km.Never)
    x, _ = vectors()
    y = x[:, :3]
    assert set(loaded.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "mae"}
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_an_uncompiled_pair(tmp_path):
    model = km.MotivatedModel(*pair_of("both"))
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.motivation is None
    assert_same_weights(loaded.motivated, model.motivated, rtol=0, atol=0)


def test_weights_alone(tmp_path):
    model = trained()
    model.save_weights(tmp_path / "pair.weights.h5")
    other = trained(epochs=1)
    other.load_weights(tmp_path / "pair.weights.h5")
    for one, two in ((other.base, model.base), (other.motivated, model.motivated)):
        assert_same_weights(one, two, rtol=0, atol=0)


def test_explicit_maps_survive(tmp_path):
    base, motivated = mlp(4, 0, norm=False), mlp(8, 0, norm=False)
    every_second = np.arange(1, 8, 2)
    index = [(slice(None), every_second), (every_second,), (every_second, slice(None)), (slice(None),)]
    model = km.MotivatedModel(
        base, motivated, km.WeightsMap(base, motivated, zip(base.weights, motivated.weights, index))
    )
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    loaded.base.set_weights([w + 1 for w in values(loaded.base)])
    kernel = numpy(loaded.motivated.weights[0])
    np.testing.assert_array_equal(kernel[:, 1::2], numpy(loaded.base.weights[0]))
    np.testing.assert_array_equal(kernel[:, ::2], numpy(motivated.weights[0])[:, ::2])


LOAD = """
import sys, keras, numpy as np
models = [keras.models.load_model(path) for path in sys.argv[1:3]]
assert "keras_motivation" not in sys.modules
x = np.load(sys.argv[3])
np.savez(sys.argv[4], *[model.predict(x, verbose=0) for model in models])
"""


def test_both_models_are_plain_keras_files(tmp_path):
    """They load where this package is never imported, and predict the same."""
    x, _ = vectors()
    model = trained()
    model.base.save(tmp_path / "base.keras")
    model.motivated.save(tmp_path / "motivated.keras")
    np.save(tmp_path / "x.npy", x)
    run(LOAD, *(tmp_path / name for name in ("base.keras", "motivated.keras", "x.npy", "out.npz")))
    with np.load(tmp_path / "out.npz") as out:
        for nested, name in ((model.base, "arr_0"), (model.motivated, "arr_1")):
            np.testing.assert_allclose(out[name], nested.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


CONTINUE = """
import pathlib, sys, keras, numpy as np
import helpers, keras_motivation
folder = pathlib.Path(sys.argv[1])
data = np.load(folder / "data.npz")
for name in ("pair", "family"):
    model = keras.models.load_model(folder / f"{name}.keras")
    history = model.fit(data["x"], data["y"], batch_size=4, epochs=2, shuffle=False, verbose=0).history
    weights = [helpers.numpy(v) for v in model.motivated.weights]
    np.savez(folder / f"{name}.npz", *weights, **{key: history[key] for key in ("loss", "motivated")})
"""


def family():
    """Three sizes, with distillation and a budget."""
    base, *larger = [randomise(mlp(*size), seed) for seed, size in enumerate([(4, 1), (6, 2), (7, 2)], start=1)]
    model = km.MotivatedModel(base, larger, extension="random")
    loss = keras.losses.KLDivergence()
    model.compile(
        "adam",
        crossentropy(),
        motivation=km.Budget(0.9, km.LossStreak(1)),
        motivated_batch="sandwich",
        distillation=keras.distillation.LogitsDistillation(loss=loss),
    )
    model.fit(*vectors(), batch_size=4, verbose=0)
    return model


@pytest.mark.skipif(another_backend() is None, reason="only one backend is installed")
def test_saved_under_one_backend_it_goes_on_under_another(tmp_path):
    x, y = vectors()
    models = {"pair": trained(build=lambda w, h: mlp(w, h, norm=True)), "family": family()}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    run(CONTINUE, tmp_path, backend=another_backend())
    for name, model in models.items():
        history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
        with np.load(tmp_path / f"{name}.npz") as out:
            np.testing.assert_allclose(out["loss"], history["loss"], rtol=1e-3)
            np.testing.assert_array_equal(out["motivated"], history["motivated"])
            for i, v in enumerate(model.motivated.weights):
                np.testing.assert_allclose(out[f"arr_{i}"], numpy(v), rtol=1e-2, atol=1e-3, err_msg=v.path)


def test_cloning():
    model = trained()
    clone = km.MotivatedModel.from_config(model.get_config())
    assert clone.weights_map.get_config() == model.weights_map.get_config()
    assert [tuple(v.shape) for v in clone.motivated.weights] == [tuple(v.shape) for v in model.motivated.weights]


def test_the_convolutional_pair_too(tmp_path):
    model = km.MotivatedModel(resnet(4, 1), resnet(6, 2))
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert_same_weights(loaded.motivated, model.motivated, rtol=0, atol=0)
