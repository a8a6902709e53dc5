"""Batch-norm statistics against those worked out in numpy, and nothing else changed."""

import keras
import numpy as np
import pytest
from helpers import images, numpy, resnet
from keras import layers

import keras_motivation as km


def batches(x, sizes):
    ends = np.cumsum(sizes)
    return [x[end - size : end] for size, end in zip(sizes, ends)]


def test_exact_mean_and_variance_of_all_passed_batches():
    """Also of batches of different sizes, and behind layers that random seeds and other batch norms stand in."""
    inputs = keras.Input((5, 5, 2))
    x = layers.BatchNormalization(name="first", momentum=0.9)(inputs)
    hidden = layers.Conv2D(3, 3, name="conv")(x)
    model = keras.Model(inputs, layers.BatchNormalization(name="second")(hidden))
    data = np.random.default_rng(0).normal(3.0, 2.0, (14, 5, 5, 2)).astype("float32")
    parts = batches(data, (4, 6, 4))
    before = {v.path: numpy(v) for v in model.variables if "moving" not in v.path}
    km.recalibrate_batch_norm(model, ((part, np.zeros(len(part))) for part in parts))

    np.testing.assert_allclose(numpy(model.get_layer("first").moving_mean), data.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(numpy(model.get_layer("first").moving_variance), data.var((0, 1, 2)), rtol=1e-4)
    # The second layer's inputs in training mode: each batch is normed by its own moments.
    conv = model.get_layer("conv")
    normed = [(part - part.mean((0, 1, 2))) / np.sqrt(part.var((0, 1, 2)) + 1e-3) for part in parts]
    seen = np.concatenate([keras.ops.convert_to_numpy(conv(part)) for part in normed])
    np.testing.assert_allclose(numpy(model.get_layer("second").moving_mean), seen.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(numpy(model.get_layer("second").moving_variance), seen.var((0, 1, 2)), rtol=1e-3)
    assert [layer.momentum for layer in (model.get_layer("first"), model.get_layer("second"))] == [0.9, 0.99]
    for v in model.variables:
        if v.path in before:
            np.testing.assert_array_equal(numpy(v), before[v.path])


def test_batches_limit_and_kinds_of_datasets():
    data = np.arange(12, dtype="float32").reshape(6, 2)

    class Dataset(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return data[2 * i : 2 * i + 2], np.zeros(2)

    for dataset in (batches(data, (2, 2, 2)), Dataset()):
        for limit, rows in ((1, 2), (2, 4), (None, 6), (9, 6)):
            model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization()])
            km.recalibrate_batch_norm(model, dataset, batches=limit)
            np.testing.assert_allclose(numpy(model.layers[0].moving_mean), data[:rows].mean(0), rtol=1e-6)


def test_both_models_of_a_pair_and_frozen_layers():
    x, y = images()
    model = km.MotivatedModel(resnet(4, 1), resnet(6, 2))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), motivation="never")
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    motivated = model.motivated
    frozen = motivated.get_layer("norm1")
    frozen.trainable = False
    kept = numpy(frozen.moving_mean)
    for nested in (model.base, motivated):
        km.recalibrate_batch_norm(nested, [x])
    np.testing.assert_array_equal(numpy(frozen.moving_mean), kept)
    # The extension starts silent, so both first norms see the same: the base's channels agree.
    first = [numpy(nested.get_layer("norm0").moving_mean)[:4] for nested in (model.base, motivated)]
    np.testing.assert_allclose(*first, rtol=1e-4, atol=1e-6)
    assert np.abs(first[0]).max() > 0


def test_a_norm_called_twice_counts_both_calls():
    norm = layers.BatchNormalization()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Add()([norm(inputs), norm(inputs + 100.0)]))
    x = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    km.recalibrate_batch_norm(model, [x[:2], x[2:]])
    both = np.concatenate([x, x + 100.0])
    np.testing.assert_allclose(numpy(norm.moving_mean), both.mean(0), rtol=1e-5)
    np.testing.assert_allclose(numpy(norm.moving_variance), both.var(0), rtol=1e-4)


def test_masked_entries_do_not_count():
    model = keras.Sequential([keras.Input((3, 2)), layers.Masking(), layers.BatchNormalization()])
    row = np.array([[[1.0], [0], [0]], [[5], [5], [5]]], "float32")
    km.recalibrate_batch_norm(model, [np.concatenate([row, 2 * row], axis=-1)])
    np.testing.assert_allclose(numpy(model.layers[-1].moving_mean), [4, 8], rtol=1e-5)
    np.testing.assert_allclose(numpy(model.layers[-1].moving_variance), [3, 12], rtol=1e-5)


@pytest.mark.parametrize("takes_training", [True, False])
def test_a_norm_that_never_trains_keeps_its_statistics(takes_training):
    class Frozen(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm, self.dense = layers.BatchNormalization(), layers.Dense(2)

    class Explicit(Frozen):
        def call(self, x, training=None):
            return self.dense(self.norm(x, training=False))

    class Without(Frozen):
        def call(self, x):
            return self.dense(self.norm(x))

    model = Explicit() if takes_training else Without()
    x = np.full((4, 2), 7.0, "float32")
    model(x)
    km.recalibrate_batch_norm(model, [x])
    np.testing.assert_array_equal(numpy(model.norm.moving_mean), np.zeros(2))
    np.testing.assert_array_equal(numpy(model.norm.moving_variance), np.ones(2))


def test_a_pair_and_a_tuple_of_arrays_are_refused():
    model = km.MotivatedModel(resnet(4, 1), resnet(4, 2))
    x, y = images(1)
    with pytest.raises(TypeError, match=r"`model` must be `pair\.base` or `pair\.motivated`"):
        km.recalibrate_batch_norm(model, [x])
    with pytest.raises(TypeError, match=r"`dataset` must yield batches.*Received: tuple of data"):
        km.recalibrate_batch_norm(model.base, (x, y))


def test_a_model_without_batch_norm_stays_as_it_is():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    km.recalibrate_batch_norm(model, [np.ones((2, 2), "float32")])


@pytest.mark.parametrize(
    ("dataset", "limit", "error", "message"),
    [
        (np.ones((4, 2), "float32"), None, TypeError, "`dataset` must yield batches.*Received: ndarray of data"),
        ([], None, ValueError, "at least one batch"),
        ([np.ones((4, 2), "float32")], 0, ValueError, "`batches` must be an integer of at least 1 or None"),
        ([np.ones((4, 2), "float32")], 1.5, ValueError, "`batches` must be"),
        ([np.ones((4, 2), "float32"), np.ones((4, 3), "float32")], None, ValueError, "."),
    ],
)
def test_refused_and_nothing_changed(dataset, limit, error, message):
    model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(momentum=0.7)])
    with pytest.raises(error, match=message):
        km.recalibrate_batch_norm(model, dataset, batches=limit)
    np.testing.assert_array_equal(numpy(model.layers[0].moving_mean), np.zeros(2))
    np.testing.assert_array_equal(numpy(model.layers[0].moving_variance), np.ones(2))
    assert model.layers[0].momentum == 0.7
