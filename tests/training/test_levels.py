"""More than two sizes, and more than two kinds of batches."""

import keras
import numpy as np
import pytest
from helpers import (
    Recorder,
    assert_same_weights,
    crossentropy,
    images,
    mlp,
    numpy,
    randomise,
    resnet,
    values,
    vectors,
)
from literal_chain import LiteralChain

import keras_motivation as km

# One more block and wider, wider alone: of residual nets and of multi-layer perceptrons.
SIZES = [(4, 1), (6, 2), (7, 2)]
LEVELS = [0, 1, 2, 2, 0, 2, 1, 1, 0, 2, 1, 0]
FOUR = [(4, 1), (4, 2), (6, 2), (7, 3)]
FOUR_LEVELS = [0, 1, 2, 3, 3, 0, 2, 1, 0, 3, 1, 2]
ALONE = [((size, 1.0),) for size in range(4)]
JOINT = [tuple((i, 1.0) for i in range(size + 1)) for size in range(3)]
WEIGHTED = [((0, 1.0),), *(tuple(zip(range(size + 1), (0.5, 2.0, 0.25))) for size in (1, 2))]


def models(build=resnet, sizes=SIZES):
    return [randomise(build(*size), seed) for seed, size in enumerate(sizes, start=1)]


def nested(build=resnet, sizes=SIZES, extension="random", **kwargs):
    base, *larger = models(build, sizes)
    return km.MotivatedModel(base, larger, extension=extension, **kwargs)


@pytest.mark.parametrize(
    ("kind", "terms", "optimizer", "statistics"),
    [
        ("alternate", ALONE, lambda: keras.optimizers.SGD(0.05, momentum=0.9), "private"),
        ("alternate", ALONE, lambda: keras.optimizers.RMSprop(0.002), "shared"),
        ("joint", JOINT, lambda: keras.optimizers.SGD(0.03), "private"),
        ("joint", JOINT, lambda: keras.optimizers.SGD(0.03), "shared"),
        ((0.5, 2.0, 0.25), WEIGHTED, lambda: keras.optimizers.SGD(0.03), "private"),
    ],
    ids=["momentum", "rmsprop", "joint", "joint-shared", "weighted"],
)
def test_equals_separate_models_and_copies(kind, terms, optimizer, statistics):
    sizes, levels = (FOUR, FOUR_LEVELS) if statistics == "private" and kind == "alternate" else (SIZES, LEVELS)
    x, y = images(12)
    separate = models(sizes=sizes)
    for model in separate:
        model.compile(optimizer(), crossentropy())
    chain = LiteralChain(separate, statistics)
    losses = chain.train([(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4]) for i in range(12)], [terms[i] for i in levels])

    model, record = nested(sizes=sizes, statistics=statistics), Recorder()
    model.compile(optimizer(), crossentropy(), motivation=km.Schedule(levels), motivated_batch=kind)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[record])
    np.testing.assert_allclose(record.losses, losses, rtol=1e-4)
    for ours, theirs in zip(model.models, separate, strict=True):
        assert_same_weights(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_one_level_alone_is_the_stock_model(size):
    x, y = vectors(6)
    model = nested(mlp)
    stock = keras.models.clone_model(model.models[size])
    stock.set_weights(values(model.models[size]))
    found = []
    for trained in (model, stock):
        arguments = {"motivation": km.Schedule([size] * 18)} if trained is model else {}
        trained.compile("adamw", crossentropy(), metrics=["accuracy"], **arguments)
        found.append(trained.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0).history)
    for name, series in found[1].items():
        np.testing.assert_allclose(found[0][name], series, rtol=1e-4)
    assert_same_weights(model.models[size], stock, rtol=1e-3, atol=1e-5)
    assert model.training_cost().flops == model.training_cost().alone[size]


@pytest.mark.parametrize("clipping", [{"clipnorm": 0.05}, {"global_clipnorm": 0.1}], ids=str)
def test_always_is_the_largest(clipping):
    """Also where gradients are clipped by the norm of weights that have parts in three variables."""
    x, y = vectors()
    model = nested(mlp)
    stock = keras.models.clone_model(model.motivated)
    stock.set_weights(values(model.motivated))
    model.compile(keras.optimizers.SGD(0.1, **clipping), crossentropy(), motivation="always")
    stock.compile(keras.optimizers.SGD(0.1, **clipping), crossentropy())
    for trained in (model, stock):
        trained.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert_same_weights(model.motivated, stock)


def test_each_weight_is_stored_once():
    model = nested(mlp, FOUR)
    kernels = [m.get_layer("hidden1").kernel for m in model.models[1:]]
    assert model.count_params() == sum(
        v.shape[0] if len(v.shape) == 1 else np.prod(v.shape) for v in model.motivated.weights
    ) + sum(np.prod(v.shape) for m in model.models[:-1] for v in m.non_trainable_weights)
    stored = {id(v) for v in model.trainable_variables}
    assert [id(v) in stored for v in kernels] == [True, True, True]  # new, widened, widened again
    assert not {id(v) for v in model.models[1].get_layer("first").weights} & stored  # as wide as the base's
    assert len(stored) == len(model.trainable_variables)


def test_the_streak_climbs():
    condition = km.LossStreak(k=2)
    condition.bind(3)
    losses = [9.0, 8, 7, 6, 5, 4, 3, 2, 1, 1]
    assert [int(condition.observe(loss)) for loss in losses] == [0, 0, 1, 1, 2, 2, 3, 3, 3, 0]


def test_silent_at_the_start():
    x, _ = vectors()
    model = nested(mlp, FOUR, extension="silent")
    assert model.extension == "silent"
    outputs = [m.predict(x, verbose=0) for m in model.models]
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-4, atol=1e-5)


def test_the_base_is_a_slice_of_the_largest():
    model = nested(mlp, FOUR, initialize="motivated")
    for inner in model.models:
        for v in inner.trainable_weights:
            layer, name = v.path.split("/")[-2:]
            outer = next(w for w in model.motivated.get_layer(layer).weights if w.name == name)
            np.testing.assert_array_equal(numpy(v), numpy(outer)[tuple(map(slice, v.shape))])


def test_all_are_evaluated():
    x, y = vectors()
    model = nested(mlp)
    model.compile("adam", crossentropy(), metrics=["accuracy"], motivation=km.Schedule(LEVELS[:2]))
    history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0).history
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    for i, alone in enumerate(model.models):
        alone.compile("adam", crossentropy(), metrics=["accuracy"])
        prefix = f"motivated_{i}_" if i else ""
        for name, value in alone.evaluate(x, y, verbose=0, return_dict=True).items():
            np.testing.assert_allclose(found[prefix + name], value, rtol=1e-5)
            np.testing.assert_allclose(history[f"val_{prefix}{name}"][-1], value, rtol=1e-5)
    assert len(model.evaluate(x, y, verbose=0)) == 2  # as of a stock model


def test_shares_and_cost():
    x, y = vectors(12)
    model, record = nested(mlp), km.MotivationHistory()
    model.compile("adam", crossentropy(), motivation=km.Schedule(LEVELS), motivated_batch="joint")
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[record]).history
    assert record.levels.tolist() == LEVELS
    assert record.motivated.tolist() == [level > 0 for level in LEVELS]
    np.testing.assert_allclose(history["motivated"], 2 / 3)
    for level in (1, 2):
        np.testing.assert_allclose(history[f"level_{level}"], 1 / 3)
    forward = [km.count_flops(m) for m in model.models]
    cost = model.training_cost()
    assert cost.examples == (16, 16, 16)
    assert cost.flops == 3 * sum(forward[i] * 16 * (3 - i) for i in range(3))
    np.testing.assert_allclose(history["cost_to_motivated"], cost.relative_to_motivated, rtol=1e-5)
    np.testing.assert_allclose(history["cost_to_base"], cost.relative_to_base, rtol=1e-5)


def test_a_list_of_kinds_makes_more_levels():
    x, y = vectors(3)
    model, record = nested(mlp, SIZES[:2]), km.MotivationHistory()
    kinds = ["alternate", "joint"]
    model.compile("sgd", crossentropy(), motivation=km.Schedule([1, 2, 0]), motivated_batch=kinds)
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[record])
    base, larger = (3 * km.count_flops(m) for m in model.models)
    assert record.levels.tolist() == [1, 2, 0]
    assert model.training_cost().flops_per_example == (base, larger, base + larger)
    assert model.training_cost().flops == 4 * (larger + base + larger + base)


def trained(model, epochs=1):
    x, y = vectors()
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return [numpy(v) for v in [*model.variables, *model.optimizer.variables]]


def test_saved_and_loaded_it_goes_on(tmp_path):
    def fresh():
        model = nested(mlp)
        model.compile("adam", crossentropy(), motivation=km.Schedule(LEVELS * 2), motivated_batch="joint")
        return model

    expected = trained(fresh(), 2)
    model = fresh()
    trained(model)
    model.save(tmp_path / "family.keras")
    model.save_weights(tmp_path / "family.weights.h5")
    other = fresh()
    other.load_weights(tmp_path / "family.weights.h5")
    for loaded in (keras.saving.load_model(tmp_path / "family.keras"), other):
        for ours, theirs in zip(trained(loaded), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="models: 2 in the pair, 3 in the file"):
        nested(mlp, SIZES[:2]).load_weights(tmp_path / "family.weights.h5")
    for size, alone in enumerate(model.models):
        alone.save(tmp_path / "one.keras")
        x, _ = vectors()
        again = keras.saving.load_model(tmp_path / "one.keras")
        np.testing.assert_allclose(again.predict(x, verbose=0), model.models[size].predict(x, verbose=0), rtol=1e-5)


def test_in_the_graph_as_on_the_host():
    if keras.backend.backend() != "jax":
        pytest.skip("only JAX has both")
    ends = []
    for dispatch in ("host", "graph"):
        model = nested(mlp)
        model.compile("adam", crossentropy(), motivation=km.Schedule(LEVELS), dispatch=dispatch, steps_per_execution=3)
        ends.append(trained(model))
    for ours, theirs in zip(*ends):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_summary_lists_all(capsys):
    nested(mlp).summary()
    printed = capsys.readouterr().out
    for text in ("base ", "motivated 1 ", "motivated 2 ", "the motivated 1 covers"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"motivation": km.Schedule([0, 3])}, "levels from 0 to 2. Received: 3"),
        ({"motivation": km.RandomActivation([0.1] * 3, seed=1)}, "one number for each of the levels 1 to 2"),
        ({"motivation": km.Between(km.Schedule([3]))}, "levels from 0 to 2. Received: 3"),
        ({"motivated_batch": (1, 1)}, "or 3 weights of at least 0"),
        ({"motivated_batch": ["joint", "sum"]}, r"Received: motivated_batch=\['joint', 'sum'\]"),
        ({"motivated_batch": (0, 0, 1)}, "leave no kind of batch without a loss"),
        ({"motivated_batch": []}, "or 3 weights"),
    ],
)
def test_refused(arguments, message):
    model = nested(mlp)
    with pytest.raises(ValueError, match=message):
        model.compile("sgd", crossentropy(), **arguments)
    assert not model.compiled


def test_models_that_are_not_nested_are_refused():
    small, middle, large = models(mlp)
    with pytest.raises(ValueError, match="do not map into"):
        km.MotivatedModel(small, [large, middle])
    with pytest.raises(ValueError, match=r"at least one\. Received: an empty list"):
        km.MotivatedModel(small, [])
    with pytest.raises(ValueError, match="same variable in both"):
        km.MotivatedModel(small, [middle, small])
    with pytest.raises(ValueError, match=r"for each of the 2 motivated models\. Received: 1"):
        km.MotivatedModel(small, [middle, large], weights_map=[None])
    with pytest.raises(TypeError, match=r"`motivated` must be a `keras\.Model`"):
        km.MotivatedModel(small, [middle, 3])
