"""Spells that begin when the loss falls more slowly than before."""

import numpy as np
import pytest
from helpers import compiled, fit

import keras_motivation as km


def decide(condition, losses):
    return np.array([int(condition.observe(np.float32(loss))) for loss in losses])


def falling(speeds, start=10.0):
    """Losses that fall at these speeds, without noise."""
    return start - np.cumsum(speeds)


def test_one_late_spell():
    losses = falling([0.1] * 60 + [0.01] * 60)
    found = decide(km.LossPlateau(share=0.5, fast=2, slow=8, end=0), losses)
    begin = int(np.argmax(found))
    assert 60 <= begin <= 75
    assert found[:begin].max() == 0
    assert found[begin:].min() == 1


def test_no_spell_while_the_loss_falls_as_before():
    assert decide(km.LossPlateau(share=0.5, fast=2, slow=8), falling([0.1] * 200)).max() == 0


def test_a_spell_ends_when_it_falls_no_more_and_another_begins():
    losses = falling([0.1] * 40 + [0.01] * 20 + [0.2] * 40 + [0.001] * 30 + [0.1] * 40 + [0.001] * 30)
    found = decide(km.LossPlateau(share=0.5, end=0.2, fast=2, slow=8), losses)
    changes = np.flatnonzero(np.diff(found)) + 1
    assert found[changes].tolist() == [1, 0, 1]
    assert np.all(np.diff(changes) >= 8)


def test_shortest_and_longest():
    losses = falling([0.1] * 40 + [0.0] * 200)
    found = decide(km.LossPlateau(share=0.5, end=0, fast=2, slow=8, shortest=20, longest=30), losses)
    changes = np.flatnonzero(np.diff(found)) + 1
    assert np.diff(changes).max() >= 20
    assert changes[1] - changes[0] == 30


def test_noise_and_nan_do_not_matter():
    rng = np.random.default_rng(0)
    losses = falling([0.1] * 200 + [0.0] * 200, start=30) + 0.05 * rng.normal(size=400)
    losses[[50, 120]] = np.nan, np.inf
    found = decide(km.LossPlateau(share=0.3, end=0, fast=8, slow=64), losses)
    assert 200 <= np.argmax(found) <= 330


def test_in_a_training():
    model = compiled(km.LossPlateau(share=0.9, fast=1, slow=2, longest=4))
    assert 0 < fit(model, epochs=5).history["motivated"][-1] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, "`share` must be a number in"),
        ({"share": 1.0}, "`share` must be a number in"),
        ({"end": -0.1}, "`end` must be a number in"),
        ({"end": False}, "`end` must be a number in"),
        ({"fast": 0}, "`fast` must be an integer of at least 1"),
        ({"fast": 8, "slow": 8}, "`slow` must be an integer of at least 9"),
        ({"shortest": 10}, "`shortest` must be an integer of at least 128"),
        ({"longest": 10}, "`longest` must be an integer of at least 128"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        km.LossPlateau(**arguments)
