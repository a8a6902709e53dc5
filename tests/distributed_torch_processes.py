"""Checks for `test_distributed_torch.py`, run by two processes under `torchrun`, as the example is."""

import datetime
import warnings

import keras
import numpy as np
import torch
import torch.distributed as dist
from distributed import run_checks
from distributed_pytorch import ReplicatedPair
from helpers import assert_same_weights, crossentropy, mlp, numpy, randomise, resnet, values, vectors

import keras_motivation as km

X, Y = vectors(batches=8, batch=8)


def train(cls, motivation=km.LossStreak, norm=False, optimizer=None, **kwargs):
    """Trains a pair on all data, or a replica on its share of each batch of 8; process 1 starts with other weights."""
    x, y = (X[dist.get_rank() :: 2], Y[dist.get_rank() :: 2]) if cls is ReplicatedPair else (X, Y)
    own = dist.get_rank() if cls is ReplicatedPair else 0
    base, motivated = randomise(mlp(8, norm=norm), 1 + 2 * own), randomise(mlp(12, 2, norm=norm), 2 + 2 * own)
    model = cls(base, motivated)
    record = km.MotivationHistory()
    optimizer = keras.optimizers.get(optimizer or {"class_name": "adam", "config": {"learning_rate": 0.02}})
    model.compile(optimizer, crossentropy(), metrics=["accuracy"], motivation=motivation(1), **kwargs)
    data = {"batch_size": len(x) // 8, "shuffle": False, "verbose": 0, "callbacks": [record]}
    model.fit(x, y, epochs=2, **data)
    model.fit(x, y, epochs=1, **data)
    return model, record


def equals_one_device(**kwargs):
    model, record = train(ReplicatedPair, **kwargs)
    reference, expected = train(km.MotivatedModel, **kwargs)
    assert 0 < expected.motivated.sum() < len(expected.motivated) == 24
    np.testing.assert_array_equal(record.motivated, expected.motivated)
    np.testing.assert_allclose(record.losses, expected.losses, rtol=1e-4)
    assert_same_weights(model.base, reference.base)
    assert_same_weights(model.motivated, reference.motivated)
    for v, expected_v in zip(model.optimizer.variables, reference.optimizer.variables, strict=True):
        np.testing.assert_allclose(numpy(v), numpy(expected_v), rtol=1e-4, atol=1e-6, err_msg=v.path)
    return model


def gathered(arrays):
    """What the other processes have."""
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, arrays)
    return found


def assert_replicas_agree(model):
    ours = [*values(model.base), *values(model.motivated), *(numpy(v) for v in model.motivation.variables)]
    for theirs in gathered(ours):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def check_equals_one_device():
    """Adam, whose state would show any other gradient; the shares' own losses fall at other batches."""
    model = equals_one_device()
    assert_replicas_agree(model)


def check_joint_with_clipping():
    """Both models' losses at once. Gradients are clipped by the norm of the mean, not of one process's share."""
    optimizer = {"class_name": "sgd", "config": {"learning_rate": 0.3, "clipnorm": 0.1}}
    equals_one_device(motivated_batch="joint", motivation=lambda k: km.LossTrend(k, 3), optimizer=optimizer)


def check_batch_norm():
    """Its statistics are of each share while training, and averaged afterwards: all replicas evaluate alike."""
    model, record = train(ReplicatedPair, norm=True)
    assert_replicas_agree(model)
    decisions = gathered(record.motivated.tolist())
    assert decisions[0] == decisions[1]
    assert True in decisions[0]
    evaluated = gathered(model.evaluate(X, Y, verbose=0, return_dict=True))
    assert evaluated[0] == evaluated[1]


def check_frozen_layers():
    """What has no gradient is no part of the message; all processes leave the same out."""
    base, motivated = resnet(norm=False), resnet(6, 2, norm=False)
    for model in (base, motivated):
        model.get_layer("stem").trainable = False
    keras.utils.set_random_seed(dist.get_rank())
    model = ReplicatedPair(base, motivated)
    model.compile("sgd", crossentropy(), motivation=km.LossStreak(1))
    x = np.random.default_rng(dist.get_rank()).normal(size=(16, 6, 6, 2)).astype("float32")
    model.fit(x, np.arange(16) % 3, batch_size=4, verbose=0)
    assert_replicas_agree(model)


def check_without_the_hook_replicas_part():
    """Or the checks above would show nothing: pairs of the package itself know nothing of each other."""
    x, y = X[dist.get_rank() :: 2], Y[dist.get_rank() :: 2]
    model = km.MotivatedModel(randomise(mlp(8, norm=False), 1), randomise(mlp(12, 2, norm=False), 2))
    model.compile("adam", crossentropy(), motivation=km.LossStreak(1))
    model.fit(x, y, batch_size=4, verbose=0)
    ours, theirs = gathered(values(model.base))
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(ours, theirs))


if __name__ == "__main__":
    warnings.simplefilter("error")
    for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.simplefilter("default", kind)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    run_checks(globals())
