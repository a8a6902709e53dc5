"""Distillation in joint batches, against stock models whose gradients are written out."""

import keras
import numpy as np
import pytest
from helpers import crossentropy, mlp, numpy, vectors
from keras import layers, ops
from literal_chain import LiteralChain
from test_levels import SIZES, models, nested

import keras_motivation as km

RATE = 0.05


def logits(temperature=2.0, **kwargs):
    loss = keras.losses.KLDivergence(**kwargs)
    return keras.distillation.LogitsDistillation(temperature=temperature, loss=loss)


class Reference(keras.losses.Loss):
    """Cross-entropy, and by hand the Kullback-Leibler divergence from fixed logits, which come with the labels."""

    def __init__(self, temperature, weight, own):
        super().__init__()
        self.temperature, self.weight, self.own = temperature, weight, own

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        y, teacher = ops.cast(y_true[:, 0], "int32"), y_true[:, 1 : 1 + classes] / self.temperature
        own = ops.mean(keras.losses.sparse_categorical_crossentropy(y, y_pred, from_logits=True))
        p, q = ops.log_softmax(teacher), ops.log_softmax(y_pred / self.temperature)
        each = ops.sum(ops.exp(p) * (p - q), axis=-1) * self.temperature**2
        return self.own * own + self.weight * ops.mean(each * y_true[:, -1])


class DistilledChain(LiteralChain):
    """Before a batch, its largest model's logits are added to the labels. Its own logits teach a model nothing."""

    def train(self, batches, levels, sample_weights=None):
        weights = [np.ones(len(x)) for x, _ in batches] if sample_weights is None else sample_weights
        for (x, y), terms, weight in zip(batches, levels, weights):
            teacher = outputs(self.models[terms[-1][0]], x)
            labels = np.concatenate([y[:, None], teacher, weight[:, None]], axis=1).astype("float32")
            super().train([(x, labels)], [terms])


def outputs(model, x):
    """In training mode, without a change of the statistics."""
    kept = [numpy(v).copy() for v in model.non_trainable_variables]
    found = ops.convert_to_numpy(model(x, training=True))
    for variable, value in zip(model.non_trainable_variables, kept):
        variable.assign(value)
    return found


def data(count=10):
    x, y = vectors(count)
    return x, y, [(x[4 * i : 4 * i + 4], y[4 * i : 4 * i + 4]) for i in range(count)]


def reference(temperature, weight, batches, terms, own=1.0, **kwargs):
    separate = models(mlp, SIZES)
    for each in separate:
        each.compile(keras.optimizers.SGD(RATE), Reference(temperature, weight, own))
    DistilledChain(separate, "private").train(batches, terms, **kwargs)
    return separate


def assert_alike(model, separate):
    for ours, theirs in zip(model.models, separate, strict=True):
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_equals_the_written_out_reference(weight):
    x, y, batches = data()
    terms = [((0, 1.0), (1, 1.0), (2, 1.0))] * 10
    separate = reference(2.0, weight, batches, terms)
    model = nested(mlp)
    model.compile(
        keras.optimizers.SGD(RATE),
        crossentropy(),
        motivation="always",
        motivated_batch="joint",
        distillation=logits(2.0),
        distillation_weights=weight,
    )
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert_alike(model, separate)
    without = nested(mlp)
    without.compile(keras.optimizers.SGD(RATE), crossentropy(), motivation="always", motivated_batch="joint")
    without.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert np.abs(numpy(without.base.weights[0]) - numpy(model.base.weights[0])).max() > 1e-4
    assert model.training_cost() == without.training_cost()  # the teacher's run is the one that trains it


def test_only_batches_of_several_models_and_their_largest():
    """In a batch of the first two models, the second is the teacher; in a batch of one, there is none."""
    x, y, batches = data()
    levels = [0, 1, 2, 3, 4, 4, 3, 0, 3, 4]
    model = nested(mlp)
    model.compile(
        keras.optimizers.SGD(RATE),
        crossentropy(),
        motivation=km.Schedule(levels),
        motivated_batch=["alternate", "joint"],
        distillation=[logits(), logits(5.0)],
        distillation_weights=[0.5, 0.0],
    )
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    separate = reference(2.0, 0.5, batches, [model._compiled_pair.kinds.terms[level] for level in levels])
    assert_alike(model, separate)


def test_sample_weights_count():
    x, y, batches = data()
    weights = np.random.default_rng(1).uniform(0, 2, len(x)).astype("float32")
    terms = [((0, 1.0), (1, 1.0), (2, 1.0))] * 10
    model = nested(mlp)
    model.compile(
        keras.optimizers.SGD(RATE),
        lambda y, y_pred: 0.0 * ops.sum(y_pred, axis=-1),  # only the distillation trains
        motivation="always",
        motivated_batch="joint",
        distillation=logits(),
    )
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, sample_weight=weights)
    parts = [weights[4 * i : 4 * i + 4] for i in range(10)]
    separate = reference(2.0, 1.0, batches, terms, own=0.0, sample_weights=parts)
    assert_alike(model, separate)
    assert np.abs(numpy(separate[0].weights[0]) - numpy(models(mlp, SIZES)[0].weights[0])).max() > 1e-4


def two_heads(width):
    x = layers.Dense(width, "relu", name="first")(inputs := keras.Input((5,)))
    return keras.Model(inputs, {"a": layers.Dense(3, name="a")(x), "b": layers.Dense(1, name="b")(x)})


def test_several_outputs():
    """A loss for one output only, and sample weights by name."""
    x, y, _ = data(4)
    ends = []
    for weights in (np.ones(16), np.zeros(16)):
        keras.utils.set_random_seed(0)
        model = km.MotivatedModel(two_heads(4), two_heads(6), extension="random")
        heads = {"a": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "b": "mse"}
        loss = {"a": keras.losses.KLDivergence(), "b": None}
        model.compile(
            keras.optimizers.SGD(RATE),
            heads,
            motivation="always",
            motivated_batch=(1, 1),
            distillation=keras.distillation.LogitsDistillation(loss=loss),
        )
        sample_weight = {"a": weights, "b": np.ones(16)}
        model.fit(x, {"a": y, "b": y[:, None]}, batch_size=4, shuffle=False, verbose=0, sample_weight=sample_weight)
        ends.append([numpy(v) for v in model.base.weights])
    assert np.abs(ends[0][2] - ends[1][2]).max() > 1e-5
    for end in ends:
        assert all(np.isfinite(v).all() for v in end)


def masked(width):
    x = layers.Embedding(7, width, mask_zero=True, name="embedding")(inputs := keras.Input((6,), dtype="int32"))
    return keras.Model(inputs, layers.Dense(7, name="head")(x))


def test_masked_steps_teach_nothing():
    """The same changes if steps that the model masks are cut off."""
    tokens = np.random.default_rng(0).integers(1, 7, (4, 6))
    padded = np.concatenate([tokens[:, :3], np.zeros((4, 3), int)], axis=1)

    def trained(x, build):
        keras.utils.set_random_seed(0)
        model = km.MotivatedModel(build(3), build(5), extension="random")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        kwargs = {"motivation": "always", "motivated_batch": "joint", "distillation": logits()}
        model.compile(keras.optimizers.SGD(0.5), loss, **kwargs)
        model.fit(x, x, batch_size=2, epochs=2, shuffle=False, verbose=0)
        return [numpy(v) for v in model.motivated.weights]

    def short(width):
        x = layers.Embedding(7, width, name="embedding")(inputs := keras.Input((3,), dtype="int32"))
        return keras.Model(inputs, layers.Dense(7, name="head")(x))

    for ours, theirs in zip(trained(padded, masked), trained(tokens[:, :3], short)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_saved_and_loaded(tmp_path):
    x, y, _ = data(4)
    model = nested(mlp)
    arguments = {"motivation": "always", "motivated_batch": "joint", "distillation": logits(3.0)}
    model.compile(keras.optimizers.SGD(RATE), crossentropy(), distillation_weights=0.5, **arguments)
    model.save(tmp_path / "family.keras")
    loaded = keras.saving.load_model(tmp_path / "family.keras")
    for each in (model, loaded):
        each.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_allclose(numpy(ours), numpy(theirs), rtol=1e-5, atol=1e-7)


def test_probabilities_are_no_logits():
    def build(width):
        return keras.Sequential(
            [keras.Input((5,)), layers.Dense(width, "relu"), layers.Dense(3, "softmax", name="classes")]
        )

    model = km.MotivatedModel(build(4), build(6))
    loss = "sparse_categorical_crossentropy"
    with pytest.warns(UserWarning, match=r"takes the models' outputs as logits, but their layers \['classes'\]"):
        model.compile("sgd", loss, motivated_batch="joint", distillation=logits())
    model.compile("sgd", loss, motivated_batch="joint", distillation=keras.distillation.FeatureDistillation())


class Vector(keras.distillation.DistillationLoss):
    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return ops.mean(ops.square(teacher_outputs - student_outputs), axis=-1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"distillation": "kl_divergence"}, TypeError, r"keras\.distillation\.DistillationLoss"),
        ({"distillation": []}, TypeError, "or a list of them"),
        ({"distillation": logits(), "motivated_batch": "alternate"}, ValueError, "batches of one model each"),
        ({"distillation": keras.distillation.LogitsDistillation()}, ValueError, r"loss=keras\.losses\.KLDivergence"),
        ({"distillation": logits(), "distillation_weights": [1, 2]}, ValueError, "or 1 of them"),
        ({"distillation": logits(), "distillation_weights": -1}, ValueError, "at least 0"),
        ({"distillation_weights": 1.0}, ValueError, "`distillation` must be given"),
        (
            {"distillation": keras.distillation.FeatureDistillation(student_layer_name="first")},
            ValueError,
            "outputs of other layers are not kept",
        ),
    ],
)
def test_refused(arguments, error, message):
    model = nested(mlp)
    with pytest.raises(error, match=message):
        model.compile("sgd", crossentropy(), **{"motivated_batch": "joint", **arguments})
    assert not model.compiled


def test_a_loss_of_each_example_is_refused():
    x, y, _ = data(1)
    model = nested(mlp)
    model.compile("sgd", crossentropy(), motivation="always", motivated_batch="joint", distillation=Vector())
    before = [numpy(v).copy() for v in model.trainable_variables]
    with pytest.raises(ValueError, match="must return a scalar"):
        model.fit(x, y, batch_size=4, verbose=0)
    for ours, theirs in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(numpy(ours), theirs)
