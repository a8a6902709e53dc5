"""The assembled step against the paper's literal procedure: same losses, same motivated batches, same weights."""

import keras
import numpy as np
import pytest
from families import pictures, tokens, with_head
from helpers import Recorder, assert_same_weights, crossentropy, images, pair_of, randomise
from helpers import resnet as resnet_of_blocks
from oracle import LiteralProcedure

import keras_motivation as km

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True),
    "adamw": lambda: keras.optimizers.AdamW(0.005, weight_decay=0.05),
}


def assert_equals_the_literal_procedure(build, x, y, optimizer, k, statistics, atol=1e-6, partners=None, rename=None):
    """Trains two copies of the pair that `build` makes, one by the oracle, on batches of 4.

    `rename` is that of the map. Where weights of the same path are not partners, `partners(*pair)` gives the oracle
    each weight of the base and its partner.
    """
    size = len(y) // 4
    batches = [(_rows(x, i), y[4 * i : 4 * i + 4]) for i in range(size)]
    base, motivated = build()
    for model in (base, motivated):
        model.compile(OPTIMIZERS[optimizer](), crossentropy())
    oracle = LiteralProcedure(base, motivated, k, statistics, list(partners(base, motivated)) if partners else None)
    losses, flags = oracle.train(batches)
    assert 0 < sum(flags) < size  # the oracle saw batches of both kinds, or this compares nothing

    pair = build()
    weights_map = km.WeightsMap.infer(*pair, rename=rename)
    model = km.MotivatedModel(*pair, weights_map, statistics=statistics, extension="random")  # the paper's start
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


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("statistics", "optimizer"), [("shared", "momentum"), ("private", "adamw")])
def test_layers_in_the_middle_equal_the_literal_procedure(statistics, optimizer):
    """Blocks 1 and 2 of the base are blocks 2 and 4 of the wider model."""
    names = {f"{kind}{i}": f"{kind}{j}" for kind in ("norm", "conv") for i, j in ((1, 2), (2, 4))}

    def build():
        return randomise(resnet_of_blocks(4, 3), 1), randomise(resnet_of_blocks(6, 5), 2)

    def partners(base, motivated):
        by_path = {weight.path: weight for weight in motivated.weights}
        for weight in base.weights:
            layer, kind = weight.path.split("/")
            yield weight, by_path[f"{names.get(layer, layer)}/{kind}"]

    x, y = images(30)
    assert_equals_the_literal_procedure(build, x, y, optimizer, 1, statistics, partners=partners, rename=names)
