"""What a motivated batch minimises: the motivated model's loss, both losses, or any weights of the two."""

import keras
import numpy as np
import pytest
from helpers import assert_same_weights, compiled, crossentropy, fit, mlp, numpy, pair_of, values, vectors

import keras_motivation as km

RATE = 0.1


def pair(motivated_batch, motivation=None, **kwargs):
    model = km.MotivatedModel(*pair_of("both", mlp), extension="random", **kwargs)
    condition = motivation or km.Always()
    model.compile(keras.optimizers.SGD(RATE), crossentropy(), motivation=condition, motivated_batch=motivated_batch)
    return model


def change(model, x, y):
    """By how much one step of the stock model changes each weight, by path; and the loss before it."""
    model.compile(keras.optimizers.SGD(RATE), crossentropy())
    before = values(model)
    loss = float(model.train_on_batch(x, y))
    return {v.path: numpy(v) - old for v, old in zip(model.weights, before) if v.trainable}, loss


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weights", ["joint", (0.5, 0.5), (0.3, 2.0), (2.0, 0.0), "alternate"])
def test_a_step_is_the_weighted_sum_of_the_stock_steps(weights):
    x, y = vectors(1, 8)
    base, motivated = pair_of("both", mlp)
    (base_change, base_loss), (motivated_change, motivated_loss) = change(base, x, y), change(motivated, x, y)
    of_base, of_motivated = {"joint": (1, 1), "alternate": (0, 1)}.get(weights, weights)
    model = pair(weights)
    before = {id(v): numpy(v) for v in [*model.base.weights, *model.motivated.weights]}
    loss = float(model.train_on_batch(x, y, return_dict=True)["loss"])
    assert loss == pytest.approx(base_loss if of_base else motivated_loss)

    for entry in model.weights_map.entries:
        if entry.base.trainable:
            theirs = motivated_change[entry.motivated.path][tuple(slice(0, n) for n in entry.base.shape)]
            expected = of_base * base_change[entry.base.path] + of_motivated * theirs
            np.testing.assert_allclose(numpy(entry.base) - before[id(entry.base)], expected, rtol=1e-4, atol=1e-7)
    for v in model.motivated.trainable_variables:
        outside = np.ones(v.shape, bool)
        if v.path in base_change:
            outside[tuple(slice(0, n) for n in base_change[v.path].shape)] = False
        moved = (numpy(v) - before[id(v)])[outside]
        np.testing.assert_allclose(moved, of_motivated * motivated_change[v.path][outside], rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dynamo turns a warning inside its tracing into an internal error
def test_a_compiled_joint_step_is_the_plain_one():
    x, y = vectors(2, 8)
    models = []
    for jit in (False, True):
        model = km.MotivatedModel(*pair_of("both", mlp), extension="random")
        model.compile("sgd", crossentropy(), motivation="always", motivated_batch="joint", jit_compile=jit)
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
        models.append(model)
    assert_same_weights(models[1].base, models[0].base)
    assert_same_weights(models[1].motivated, models[0].motivated)


@pytest.mark.parametrize(("weights", "which"), [("joint", 0), ((2.0, 0.0), 0), ((0.0, 0.5), 1)])
def test_the_condition_hears_the_unweighted_loss_of_the_smallest_model(weights, which):
    x, y = vectors(1, 8)
    stock = pair_of("both", mlp)[which]
    stock.compile(keras.optimizers.SGD(RATE), crossentropy())
    expected = float(stock.train_on_batch(x, y))
    condition = km.LossStreak(k=1)
    condition.level.assign(1)
    pair(weights, condition).train_on_batch(x, y)
    assert float(condition.previous.value) == pytest.approx(expected, rel=1e-5)


def test_logs_of_single_outputs_are_the_base_s_in_a_joint_batch():
    def two_heads(width):
        inputs = keras.Input((5,))
        hidden = keras.layers.Dense(width, "relu", name="hidden")(inputs)
        heads = {name: keras.layers.Dense(1, name=name)(hidden) for name in ("a", "b")}
        return keras.Model(inputs, heads)

    keras.utils.set_random_seed(3)
    base, larger = two_heads(4), two_heads(8)
    x, _ = vectors(1, 8)
    y = {"a": x[:, :1], "b": x[:, 1:2]}
    expected = keras.models.clone_model(base)
    expected.set_weights(base.get_weights())
    expected.compile("sgd", {"a": "mse", "b": "mse"})
    stock = expected.train_on_batch(x, y, return_dict=True)
    model = km.MotivatedModel(base, larger, extension="random")
    model.compile("sgd", {"a": "mse", "b": "mse"}, motivation="always", motivated_batch="joint")
    logs = model.train_on_batch(x, y, return_dict=True)
    for name in ("loss", "a_loss", "b_loss"):
        assert float(logs[name]) == pytest.approx(float(stock[name]), rel=1e-5), name


@pytest.mark.parametrize("kwargs", [{}, {"run_eagerly": True}])
def test_joint_batches_train_both_models_on_shared_statistics(kwargs):
    model = km.MotivatedModel(*pair_of("both", mlp), statistics="shared")
    model.compile(
        keras.optimizers.Adam(0.02),
        crossentropy(),
        metrics=["accuracy"],
        motivation="always",
        motivated_batch="joint",
        **kwargs,
    )
    x, y = vectors(8, 8)
    losses = model.fit(x, y, epochs=4, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    assert results["motivated_loss"] < losses[0]


@pytest.mark.usefixtures("mixed_float16")
def test_joint_batches_under_a_loss_scale():
    model = compiled(km.Always(), motivated_batch="joint")
    assert np.isfinite(fit(model, epochs=2).history["loss"]).all()


def test_it_survives_saving_and_the_weight_zero_leaves_the_extension_alone(tmp_path):
    model = pair((2.0, 0.0))
    before = {v.path: numpy(v) for v in model.motivated.weights}
    fit(model)
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.get_compile_config()["motivated_batch"] == [2.0, 0.0]
    new = [v for v in loaded.motivated.weights if not loaded.weights_map.partner(v)]
    assert new
    for v in new:
        np.testing.assert_array_equal(numpy(v), before[v.path])


@pytest.mark.parametrize("wrong", ["both", (1.0,), (0, 0), (-1, 1), (1, 1, 1), None, 3, (float("nan"), 1), ("a", "b")])
def test_refused(wrong):
    with pytest.raises(ValueError, match=r"`motivated_batch` must be one of .*Received: motivated_batch="):
        compiled(motivated_batch=wrong)
