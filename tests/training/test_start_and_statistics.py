"""Where shared weights start, and whose batch-norm statistics are whose."""

import keras
import numpy as np
import pytest
from helpers import Alternate, crossentropy, mlp, numpy, pair_of, randomise, values, vectors

import keras_motivation as km


def buffers(model):
    return [numpy(v) for v in model.weights if v.name.startswith("moving_")]


def trained(statistics, motivation=None):
    x, y = vectors()
    model = km.MotivatedModel(*pair_of("both", mlp), statistics=statistics)
    model.compile("adam", crossentropy(), metrics=["accuracy"], motivation=motivation or Alternate())
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, validation_data=(x, y)).history
    return model, history


def test_both_policies_train_alike_and_evaluate_differently():
    """In training, batch norm uses the batch's statistics: the policy shows in evaluation only."""
    (private, one), (shared, other) = trained("private"), trained("shared")
    assert one["loss"] == other["loss"]
    for a, b in ((private.base, shared.base), (private.motivated, shared.motivated)):
        for v, w in zip(a.trainable_weights, b.trainable_weights):
            np.testing.assert_allclose(numpy(v), numpy(w), rtol=1e-6, err_msg=v.path)  # the programs are not the same
    assert one["val_loss"] != other["val_loss"]
    assert one["val_motivated_loss"] != other["val_motivated_loss"]


def test_private_statistics_belong_to_the_model_that_trained():
    model, _ = trained("private", km.Never())
    start = pair_of("both", mlp)
    for after, before in zip(buffers(model.motivated), buffers(start[1])):
        np.testing.assert_array_equal(after, before)
    assert any(not np.array_equal(a, b) for a, b in zip(buffers(model.base), buffers(start[0])))
    model, _ = trained("private", km.Always())
    for after, before in zip(buffers(model.base), buffers(start[0])):
        np.testing.assert_array_equal(after, before)
    assert any(not np.array_equal(a, b) for a, b in zip(buffers(model.motivated), buffers(start[1])))


def test_shared_statistics_are_one_set():
    model, _ = trained("shared")
    for inner, outer in zip(buffers(model.base), buffers(model.motivated)):
        np.testing.assert_array_equal(inner, outer[: len(inner)])


@pytest.mark.parametrize("statistics", ["private", "shared"])
def test_the_policy_survives_saving(tmp_path, statistics):
    x, y = vectors()
    model, _ = trained(statistics)
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.statistics == statistics
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    ends = [m.fit(x, y, batch_size=4, shuffle=False, verbose=0).history["loss"] for m in (model, loaded)]
    assert ends[0] == ends[1]
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_initialize_from_the_base_or_from_the_motivated_model():
    for initialize in ("base", "motivated"):
        base, motivated = randomise(mlp(4, 1), 1), randomise(mlp(6, 2), 2)
        before = values(base), values(motivated)
        km.MotivatedModel(base, motivated, initialize=initialize)
        for layer in base.layers:
            for inner, outer in zip(layer.weights, motivated.get_layer(layer.name).weights if layer.weights else []):
                window = tuple(slice(0, n) for n in inner.shape)
                np.testing.assert_array_equal(numpy(outer)[window], numpy(inner))
        unchanged = 0 if initialize == "base" else 1
        for old, new in zip(before[unchanged], values((base, motivated)[unchanged])):
            np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("argument", ["initialize", "statistics"])
def test_unknown_choices(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be one of .* Received: {argument}='theirs'"):
        km.MotivatedModel(*pair_of("both", mlp), **{argument: "theirs"})
