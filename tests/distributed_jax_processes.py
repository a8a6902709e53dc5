"""Checks for `test_distributed_jax.py`, run by two processes that train one pair together, each on 2 devices."""

import functools
import pathlib
import sys

import jax
import keras
import numpy as np
import pytest
from distributed import run_checks
from helpers import assert_same_weights, crossentropy, mlp, randomise, vectors

import keras_motivation as km

X, Y = vectors(batches=6, batch=16)


def layouts(shape):
    found = keras.distribution.LayoutMap(keras.distribution.DeviceMesh(shape, ("batch", "model")))
    found["(first|hidden.)/kernel"] = (None, "model")
    return keras.distribution.ModelParallel(layout_map=found, batch_dim_name="batch", auto_shard_dataset=False)


def train(shares, **kwargs):
    """Trains on this process's share of each global batch, or on all of it."""
    model = km.MotivatedModel(*(randomise(mlp(8 * n, n, norm=False), n) for n in (1, 2)))
    record = km.MotivationHistory()
    model.compile("adam", crossentropy(), metrics=["accuracy"], motivation=km.LossStreak(1), **kwargs)
    x, y = X, Y
    if shares > 1:
        x, y = [a.reshape(6, 2, 8, *a.shape[1:])[:, process()].reshape(48, *a.shape[1:]) for a in (X, Y)]
    size = 16 // shares
    data = {"batch_size": size, "epochs": 2, "shuffle": False, "validation_data": (x[:size], y[:size])}
    return model, model.fit(x, y, verbose=0, callbacks=[record], **data).history, record


def process():
    return jax.process_index()


@functools.cache
def one_device():
    return train(1)


def assert_same_run(distribution, shares, weights=True, **kwargs):
    reference, expected, alone = one_device()
    with distribution.scope():
        model, history, record = train(shares, **kwargs)
        assert 0 < alone.motivated.sum() < 12
        np.testing.assert_array_equal(record.motivated, alone.motivated)
        np.testing.assert_allclose(record.losses, alone.losses, rtol=1e-4)
        for name, value in expected.items():
            np.testing.assert_allclose(history[name], value, rtol=1e-4, err_msg=name)
        if weights:
            assert_same_weights(model.base, reference.base)
            assert_same_weights(model.motivated, reference.motivated)
    return model


def check_data_parallel():
    """4 devices of 2 processes; the host of each chooses by the same flag."""
    model = assert_same_run(keras.distribution.DataParallel(auto_shard_dataset=False), 2)
    assert len(model.base.weights[0].value.devices()) == 4


def check_data_parallel_graph():
    assert_same_run(
        keras.distribution.DataParallel(auto_shard_dataset=False), 2, dispatch="graph", steps_per_execution=4
    )


def check_model_parallel():
    """Kernels split over the devices of a process, and the batch over the processes."""
    distribution = layouts((2, 2))
    model = assert_same_run(distribution, 2)
    assert model.base.weights[0].value.addressable_shards[0].data.shape == (5, 4)


def check_saving():
    """Every process saves, to a file of its own: Keras creates variables meanwhile, which all processes must do."""
    path = pathlib.Path(sys.argv[2]) / f"{process()}.keras"
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        model, *_ = train(2)
        model.save(path)
        loaded = keras.models.load_model(path)
        histories = [m.fit(X[:32], Y[:32], batch_size=8, shuffle=False, verbose=0).history for m in (model, loaded)]
    for name in ("loss", "accuracy", "motivated"):
        np.testing.assert_allclose(histories[1][name], histories[0][name], rtol=1e-5)


def check_model_split_over_processes():
    """Trains; but no process can fetch what it holds a part of, so neither Keras's files nor ours can be written."""
    model = assert_same_run(layouts((1, 4)), 1, weights=False)
    for saved in (model, model.base):
        with pytest.raises(RuntimeError, match="non-addressable"):
            saved.save(pathlib.Path(sys.argv[2]) / f"split_{process()}.keras")


if __name__ == "__main__":
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    keras.utils.set_random_seed(0)
    keras.distribution.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[3]))
    run_checks(globals())
