"""The assembled step against the paper's literal procedure: same losses, same motivated batches, same weights."""

import keras
import numpy as np
import pytest
from families import pictures, tokens, with_head
from helpers import Recorder, assert_same_weights, crossentropy, images, pair_of, randomise
from oracle import LiteralProcedure

import keras_motivation as km

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adamw": lambda: keras.optimizers.AdamW(0.005, weight_decay=0.05),
}


def assert_equals_the_literal_procedure(build, x, y, optimizer, k, statistics, atol=1e-6):
    """Trains two copies of the pair that `build` makes, one by the oracle, on batches of 4."""
    size = len(y) // 4
    batches = [(_rows(x, i), y[4 * i : 4 * i + 4]) for i in range(size)]
    base, motivated = build()
    for model in (base, motivated):
        model.compile(OPTIMIZERS[optimizer](), crossentropy())
    oracle = LiteralProcedure(base, motivated, k, statistics)
    losses, flags = oracle.train(batches)
    assert 0 < sum(flags) < size  # the oracle saw batches of both kinds, or this compares nothing

    model = km.MotivatedModel(*build(), statistics=statistics, extension="random")  # the paper's start
    model.compile(OPTIMIZERS[optimizer](), crossentropy(), motivation=km.LossStreak(k))
    record = Recorder()
    # Three epochs over thirds of the data: an epoch's end must not reset the streak.
    model.fit((b for b in batches), epochs=3, steps_per_epoch=size // 3, shuffle=False, verbose=0, callbacks=[record])

    assert record.motivated == flags
    np.testing.assert_allclose(record.losses, losses, rtol=1e-4)
    assert_same_weights(model.base, oracle.base, atol=atol)
    assert_same_weights(model.motivated, oracle.motivated, atol=atol)


def _rows(x, i):
    return keras.tree.map_structure(lambda array: array[4 * i : 4 * i + 4], x)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["depth", "both"])
@pytest.mark.parametrize(
    ("k", "statistics", "optimizer"),
    [*((1, "shared", optimizer) for optimizer in OPTIMIZERS), (2, "shared", "sgd"), (1, "private", "adamw")],
)
def test_equals_the_literal_procedure(kind, optimizer, k, statistics):
    x, y = images(30)
    assert_equals_the_literal_procedure(lambda: pair_of(kind), x, y, optimizer, k, statistics)


def efficientnet(build):
    small, large = [{"dropout": 0.0, "repeats": repeats} for repeats in ((1, 1), (1, 2))]
    return with_head(build.efficientnet(1.0, 1.0, **small)), with_head(build.efficientnet(1.0, 1.5, **large))


def resnet(build):
    return with_head(build.resnet([64, 8], [1, 1])), with_head(build.resnet([64, 12], [1, 2]))


def vit(build):
    return with_head(build.vit(1, 2, 16, 32)), with_head(build.vit(2, 3, 24, 48))


def bert(build):
    return with_head(build.bert(1, 2, 16, 32, dropout=0.0)), with_head(build.bert(2, 3, 24, 48, dropout=0.0))


@pytest.mark.usefixtures("float64")
@pytest.mark.filterwarnings("ignore:.*cannot be silenced:UserWarning")  # BERT's depth
@pytest.mark.parametrize(
    ("family", "statistics"),
    [(efficientnet, "shared"), (resnet, "shared"), (resnet, "private"), (vit, "shared"), (bert, "shared")],
)
def test_stock_families_equal_the_literal_procedure(family, statistics):
    """Without dropout, whose random numbers the two copies would not share.

    In single precision, so that a mean near zero among others of 50 may differ in the fifth decimal.
    """
    build = pytest.importorskip("test_keras_hub")
    x, y = tokens(count=72) if family is bert else pictures(16, count=72)

    def pair():
        return [randomise(model, seed) for seed, model in enumerate(family(build))]

    assert_equals_the_literal_procedure(pair, x, y, "sgd", 1, statistics, atol=1e-5)
