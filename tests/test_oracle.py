"""The assembled step against the paper's literal procedure: same losses, same motivated batches, same weights."""

import keras
import numpy as np
import pytest
from helpers import Recorder, assert_same_weights, crossentropy, images, pair_of
from oracle import LiteralProcedure

import keras_motivation as km

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adamw": lambda: keras.optimizers.AdamW(0.005, weight_decay=0.05),
}
BATCHES = 30


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["depth", "both"])
@pytest.mark.parametrize(
    ("k", "statistics", "optimizer"),
    [*((1, "shared", optimizer) for optimizer in OPTIMIZERS), (2, "shared", "sgd"), (1, "private", "adamw")],
)
def test_equals_the_literal_procedure(kind, optimizer, k, statistics):
    x, y = images(BATCHES)
    batches = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 4 * BATCHES, 4)]
    base, motivated = pair_of(kind)
    for model in (base, motivated):
        model.compile(OPTIMIZERS[optimizer](), crossentropy())
    oracle = LiteralProcedure(base, motivated, k, statistics)
    losses, flags = oracle.train(batches)
    assert 0 < sum(flags) < BATCHES  # the oracle saw batches of both kinds, or this compares nothing

    model = km.MotivatedModel(*pair_of(kind), statistics=statistics, extension="random")
    model.compile(OPTIMIZERS[optimizer](), crossentropy(), motivation=km.LossStreak(k))
    record = Recorder()
    # Three epochs over thirds of the data: an epoch's end must not reset the streak.
    model.fit(
        (b for b in batches), epochs=3, steps_per_epoch=BATCHES // 3, shuffle=False, verbose=0, callbacks=[record]
    )

    assert record.motivated == flags
    np.testing.assert_allclose(record.losses, losses, rtol=1e-4)
    assert_same_weights(model.base, oracle.base)
    assert_same_weights(model.motivated, oracle.motivated)
