"""Models with an objective of their own in a pair: trained, evaluated and saved as stock Keras does."""

import re

import keras
import numpy as np
import pytest
from helpers import Alternate, numpy, values, vectors
from own_objectives import CASES, CROSSENTROPY, Scoring, Tracking, configured, graph, tracking
from race import Race

import keras_motivation as km

BACKEND = keras.backend.backend()
TOLERANCE = {"torch": 0.0, "jax": 1e-6, "tensorflow": 1e-6}[BACKEND]


@pytest.mark.parametrize("motivated", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_race(name, motivated):
    outcome = Race(CASES[name], extension="random").run(motivated)
    assert outcome.deviation <= TOLERANCE, str(outcome)


@pytest.mark.parametrize("how", ["eager", "compiled"])
@pytest.mark.parametrize("name", ["tracking", "calling"])
def test_the_race_otherwise_compiled(name, how):
    options = {"run_eagerly": True} if how == "eager" else {"jit_compile": BACKEND != "torch"}
    outcome = Race(CASES[name], extension="random").run(True, **options)
    assert outcome.deviation <= max(TOLERANCE, 1e-6), str(outcome)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses steps_per_execution there")
def test_the_race_with_several_steps_in_a_call():
    outcome = Race(CASES["tracking"], extension="random").run(True, steps_per_execution=2)
    assert outcome.deviation <= TOLERANCE, str(outcome)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has both")
def test_the_race_with_the_model_chosen_in_the_graph():
    race = Race(CASES["tracking"], extension="random")
    race.pair.compile("sgd", motivation=Alternate())
    x, y = vectors()
    histories = []
    for dispatch in ("host", "graph"):
        for model, start in zip(race.models, race.start):
            for variable, value in zip(model.variables, start):
                variable.assign(value)
        race.pair.compile("sgd", motivation=Alternate(), dispatch=dispatch)
        histories.append(race.pair.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history)
    for name, series in histories[0].items():
        np.testing.assert_allclose(histories[1][name], series, rtol=1e-5, err_msg=name)


def pair_of(build, *sizes):
    keras.utils.set_random_seed(0)
    base, *larger = (build(size) for size in sizes or (4, 6))
    return km.MotivatedModel(base, larger, extension="random")


def test_the_logs_are_means_of_all_batches_whichever_model_trained():
    """`loss` is the mean of what the batches report alone, and so is the model's own metric."""
    x, y = vectors()
    pair = pair_of(tracking)
    pair.compile("sgd", motivation=Alternate())
    alone = [pair.train_on_batch(x[i : i + 4], y[i : i + 4], return_dict=True) for i in range(0, 32, 4)]
    assert [float(logs["motivated"]) for logs in alone] == [0, 1] * 4
    again = pair_of(tracking)
    again.compile("sgd", motivation=Alternate())
    history = again.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    assert set(history) == {"loss", "error", "motivated"}
    for name in ("loss", "error"):
        np.testing.assert_allclose(history[name], np.mean([logs[name] for logs in alone]), rtol=1e-5)


@pytest.mark.parametrize("order", [("one", "two", "score"), ("two", "score", "one"), ("more", "one", "two", "score")])
def test_metrics_of_the_same_name_are_one_in_the_logs(order):
    """Whatever their order, and whatever else the larger model has."""
    x, y = vectors()
    more, order = order[0] == "more", [name for name in order if name != "more"]

    def larger():
        model = graph(6, Scoring, attributes=order)
        if more:
            model.more = keras.metrics.Mean(name="more")
        return model

    keras.utils.set_random_seed(0)
    pair = km.MotivatedModel(graph(4, Scoring), larger(), extension="random")
    pair.compile("sgd", **CROSSENTROPY, motivation=Alternate())
    history = pair.fit(x, y, batch_size=4, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["one"], 1.0)
    np.testing.assert_allclose(history["two"], 2 * np.array(history["loss"]), rtol=1e-5)
    if BACKEND == "torch":
        np.testing.assert_allclose(history["late"], 3 * np.array(history["loss"]), rtol=1e-5)
    assert np.shape(history["score"]) == (2, 3)


def test_a_metric_that_only_the_base_has_is_in_all_logs():
    x, y = vectors(7)
    keras.utils.set_random_seed(0)
    base, larger = tracking(4), graph(6, keras.Model)
    pair = km.MotivatedModel(base, larger, extension="random")
    pair.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), motivation=Alternate())
    history = pair.fit(x, y, batch_size=4, epochs=3, verbose=0).history
    assert len(history["error"]) == 3


@pytest.mark.parametrize("optimizer", ["given", "made"])
def test_a_compile_that_changes_its_optimizer_changes_the_pairs(optimizer):
    x, y = vectors()
    pair = pair_of(CASES["adjusting"].build)
    stock = CASES["adjusting"].build(6)
    stock.set_weights(values(pair.motivated))
    for model, options in ((stock, {}), (pair, {"motivation": "always"})):
        given = {"optimizer": keras.optimizers.AdamW(0.05, weight_decay=0.5)} if optimizer == "given" else {}
        model.compile(**given, rate=0.2, **options)
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for mine, theirs in zip(values(pair.motivated), values(stock)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_positions_are_those_of_the_models_own_compile():
    pair = pair_of(configured)
    pair.compile("sgd", 0.3, motivation="never")
    assert pair.base.margin == 0.3


def test_validation_reports_each_model_by_its_own_metrics():
    x, y = vectors()
    pair = pair_of(tracking)
    pair.compile("sgd", motivation=Alternate())
    history = pair.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y)).history
    for prefix, model in (("val_", pair.base), ("val_motivated_", pair.motivated)):
        model.compile("sgd")
        found = model.evaluate(x, y, verbose=0, return_dict=True)
        assert set(found) == {"loss", "error"}
        for name, value in found.items():
            np.testing.assert_allclose(history[prefix + name][-1], value, rtol=1e-5)


def test_evaluate_returns_the_bases_results_in_their_order():
    x, y = vectors()
    pair = pair_of(configured)
    pair.compile(weighted_metrics=["accuracy"], motivation="never")
    base = pair.base
    base.compile(weighted_metrics=["accuracy"])
    np.testing.assert_allclose(pair.evaluate(x, y, verbose=0), base.evaluate(x, y, verbose=0), rtol=1e-6)


def test_a_joint_batch_of_three_sizes_minimises_the_sum_of_their_own_losses():
    """So the base moves by what each model alone would move these weights."""
    x, y = vectors(1)
    pair = pair_of(tracking, 4, 5, 6)
    moves, losses = 0, []
    for size, model in zip((4, 5, 6), pair.models):
        alone = tracking(size)
        alone.set_weights(values(model))
        alone.compile(keras.optimizers.SGD(0.1))
        before = np.array(numpy(alone.get_layer("body").kernel))
        losses.append(alone.train_on_batch(x, y, return_dict=True))
        moves = moves + (numpy(alone.get_layer("body").kernel) - before)[:, :4]
    before = np.array(numpy(pair.base.get_layer("body").kernel))
    pair.compile(keras.optimizers.SGD(0.1), motivation="always", motivated_batch="joint")
    logs = pair.train_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(numpy(pair.base.get_layer("body").kernel) - before, moves, rtol=1e-4, atol=1e-7)
    for name in ("loss", "error"):  # of the smallest
        np.testing.assert_allclose(logs[name], losses[0][name], rtol=1e-5)


def test_the_models_are_compiled_with_the_arguments_and_keep_their_optimizer():
    base, motivated = configured(4), configured(6)
    base.compile(keras.optimizers.Adam(0.25), margin=0.9)
    mine = base.optimizer
    pair = km.MotivatedModel(base, motivated, extension="random")
    pair.compile(keras.optimizers.SGD(0.5), margin=0.1, motivation="never")
    assert (base.margin, motivated.margin) == (0.1, 0.1)
    assert base.optimizer is mine
    assert float(pair.optimizer.learning_rate) == 0.5
    pair.compile(motivation="never")  # the class's default optimizer, and its default margin
    assert type(pair.optimizer).__name__ == "SGD"
    assert base.margin == 0.5


def test_arguments_that_the_models_do_not_take():
    pair = pair_of(configured)
    with pytest.raises(ValueError, match=r"must be those of 'configured.*optimizer, margin, kwargs.*\['nonsense'\]"):
        pair.compile(nonsense=3)


def test_a_pair_goes_on_from_its_file_and_its_models_from_theirs(tmp_path):
    x, y = vectors()
    pair = pair_of(configured)
    pair.compile(keras.optimizers.Adam(0.01), margin=0.3, weighted_metrics=["accuracy"], motivation=Alternate())
    pair.fit(x, y, batch_size=4, verbose=0)
    pair.save(tmp_path / "pair.keras")
    for size, model in enumerate(pair.models):
        model.save(tmp_path / f"{size}.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    assert loaded.base.margin == 0.3
    histories = [model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history for model in (pair, loaded)]
    for name, series in histories[0].items():
        np.testing.assert_allclose(histories[1][name], series, rtol=1e-6, err_msg=name)
    for size in range(2):
        alone = keras.models.load_model(tmp_path / f"{size}.keras", compile=False)
        assert type(alone).__name__ == "Configured"


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
def test_predict_is_the_bases_own(method):
    x, _ = vectors()
    pair = pair_of(CASES["autoencoder"].build)
    found = []
    for model in (pair.base, pair):
        pair.base.get_layer("sampling").seed.state.assign([7, 7])
        found.append(getattr(model, method)(x, **({"verbose": 0} if method == "predict" else {})))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


class Normalized(Tracking):
    """Its statistics are written before the loss fails."""

    def __init__(self, inputs, outputs, **kwargs):
        super().__init__(inputs, keras.layers.BatchNormalization(name="norm")(outputs), **kwargs)

    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        return keras.ops.mean(keras.ops.square(y_pred - y["target"]))


class Split(Tracking):
    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        return {"one": keras.ops.mean(y_pred), "two": keras.ops.mean(y_pred)}


class Labels(Tracking):
    def compute_loss(self, x, y, y_pred, sample_weight, training=True):
        return keras.ops.mean(keras.ops.square(y_pred - y["target"]))


@pytest.mark.parametrize(
    ("cls", "y", "error", "message"),
    [
        (Split, "labels", ValueError, r"`compute_loss` of 'split.*' must return one number.*\['one', 'two'\]"),
        (Labels, "other", KeyError, "raised in `compute_loss` of 'labels.*labels .*other.*float32"),
        (Normalized, "other", KeyError, "raised in `compute_loss` of 'normalized"),
        (Labels, "none", (TypeError, KeyError), "raised in `compute_loss` of 'labels.*no labels"),
    ],
)
@pytest.mark.parametrize("eager", [False, True])
def test_errors_say_whose_objective_fails_and_nothing_is_trained(cls, y, error, message, eager):
    x, labels = vectors()
    pair = pair_of(lambda width: graph(width, cls))
    pair.compile("sgd", motivation="never", run_eagerly=eager)
    before = values(pair)
    y = {"labels": labels, "other": {"other": np.ones((32, 3), "float32")}, "none": None}[y]
    with pytest.raises(error) as caught:
        pair.fit(x, y, batch_size=4, verbose=0)
    assert re.search(message, "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])]), re.DOTALL)
    for old, new in zip(before, values(pair)):
        np.testing.assert_array_equal(new, old)
