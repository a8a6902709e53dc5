"""PyTorch: the decision is on its way to the host before the update is queued. What needs a GPU is imitated."""

import contextlib
import types

import keras
import numpy as np
import pytest

import keras_motivation as km

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="elsewhere the decision is part of one compiled program"
)


class OnTheWay:
    """Stands for stream and event of a GPU; counts how often the host waited for a copy."""

    waits = 0

    def __init__(self, *_):
        pass

    def wait_stream(self, stream):
        pass

    def record(self):
        pass

    def synchronize(self):
        OnTheWay.waits += 1


@pytest.fixture
def gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "Stream", OnTheWay)
    monkeypatch.setattr(torch.cuda, "Event", OnTheWay)
    monkeypatch.setattr(torch.cuda, "current_stream", OnTheWay)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *args, pin_memory=False, **kwargs: empty(*args, **kwargs))
    OnTheWay.waits = 0

    class Number(torch.Tensor):
        is_cuda = True
        reads = 0

        def __int__(self):
            Number.reads += 1
            return int(self.as_subclass(torch.Tensor))

    return types.SimpleNamespace(
        number=lambda value: torch.tensor(value, device="cpu").as_subclass(Number), kind=Number
    )


def test_the_copy_is_read_unless_the_number_was_written_since(gpu):
    from keras_motivation.training.steps.torch_decision import HostCopy

    copy, level = HostCopy(), gpu.number(1)
    assert copy.read(level) == 1
    assert (gpu.kind.reads, OnTheWay.waits) == (1, 0)  # nothing was sent yet
    for value in (1, 0, 2):
        level.fill_(value)
        copy.start(level)
        assert copy.read(level) == value
    assert (gpu.kind.reads, OnTheWay.waits) == (1, 3)
    level.fill_(0)  # by a checkpoint, or the user
    assert copy.read(level) == 0
    assert gpu.kind.reads == 2
    other = gpu.number(1)  # of another condition
    assert copy.read(other) == 1
    assert gpu.kind.reads == 3


class Seen(keras.optimizers.SGD):
    """Notes what the condition has decided when the update begins."""

    motivation = None

    def apply(self, *args, **kwargs):
        if self.motivation is not None:  # no copy, on which the pair tries it out
            self.seen.append(bool(self.motivation.motivated))
        return super().apply(*args, **kwargs)


def net(width):
    x = keras.layers.Dense(width, name="hidden")(inputs := keras.Input((3,)))
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(x))


@pytest.mark.parametrize("alone", [True, False])
def test_the_decision_precedes_the_update_of_one_process(alone):
    class Replica(km.MotivatedModel):
        def mean_over_replicas(self, tensors):
            pass

    model = (km.MotivatedModel if alone else Replica)(net(2), net(4))
    optimizer = Seen(0.01)
    model.compile(optimizer, "mse", motivation=km.Schedule([False, True, True, False, True]))
    optimizer.seen, optimizer.motivation = [], model.motivation
    record = km.MotivationHistory()
    x = np.random.default_rng(0).normal(size=(8, 3))
    model.fit(x, x[:, :1], batch_size=2, epochs=1, shuffle=False, verbose=0, callbacks=[record])
    assert record.motivated.tolist() == [False, True, True, False]
    assert optimizer.seen == ([True, True, False, True] if alone else [False, True, True, False])


def test_the_decision_waits_where_the_update_has_a_say():
    """With loss scaling a batch whose gradients overflow is left out, which the condition must know."""
    model = km.MotivatedModel(net(2), net(4))
    inner = Seen(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse", motivation=km.Schedule([False, True, True, False]))
    inner.seen, inner.motivation = [], model.motivation
    x = np.random.default_rng(0).normal(size=(6, 3))
    model.fit(x, x[:, :1], batch_size=2, shuffle=False, verbose=0)
    assert inner.seen == [False, True, True]


def waits(fit, batches, monkeypatch):
    """How often so many batches make a GPU's queue run empty, as far as a CPU can tell: numbers sent to it and read."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    counts = {"sent": 0, "read": 0}
    as_tensor = torch.as_tensor

    def sent(data, *args, **kwargs):
        counts["sent"] += not isinstance(data, torch.Tensor)
        return as_tensor(data, *args, **kwargs)

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            counts["read"] += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    with monkeypatch.context() as patch, Reads():
        patch.setattr(torch, "as_tensor", sent)
        fit(batches)
    return counts


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "condition", [km.Never, km.Always, km.LossStreak, km.LossTrend, lambda: km.Between(km.LossTrend(), 2, 4)]
)
def test_a_batch_waits_as_often_as_the_stock_models(condition, optimizer, monkeypatch):
    """Keras itself sends numbers in each batch; the pair makes it send no more, but for a second update of Adam's, and
    reads one flag, which a GPU copies."""
    x = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")

    def a_batch(model, **kwargs):
        model.compile(optimizer, "mse", **kwargs)
        record = km.MotivationHistory()

        def fit(batches):
            model.fit(x[: 2 * batches], x[: 2 * batches, :1], batch_size=2, shuffle=False, verbose=0, **callbacks)

        def counts(batches):
            before = len(record.motivated)
            found = waits(fit, batches, monkeypatch)
            if kwargs and optimizer == "adam":  # three numbers of Adam's, for the extension's own count
                found["sent"] -= 3 * int(np.sum(record.motivated[before:]))
            return found

        callbacks = {"callbacks": [record]} if kwargs else {}
        fit(1)
        few, many = map(counts, (2, 6))
        return {name: (many[name] - few[name]) / 4 for name in few}

    stock = a_batch(net(2))
    pair = a_batch(km.MotivatedModel(net(2), net(4)), motivation=condition())
    assert pair == {"sent": stock["sent"], "read": stock["read"] + 1}
