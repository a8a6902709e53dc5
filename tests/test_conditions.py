"""Motivation conditions against plain Python, and their life as Keras objects."""

import math

import helpers  # noqa: F401 - registers "tests>Alternate"
import keras
import numpy as np
import pytest

import keras_motivation as km


def decisions(condition, losses):
    return [bool(condition.observe(np.float32(loss))) for loss in losses]


def test_loss_streak_on_noise_is_motivated_at_the_share_of_pure_chance():
    losses = np.random.default_rng(0).normal(size=3000)
    for k in (1, 2, 3):
        assert np.mean(decisions(km.LossStreak(k), losses)) == pytest.approx(1 / math.factorial(k + 1), abs=0.03)


def test_first_batch():
    assert bool(km.Always().motivated.value)
    for condition in (km.Never(), km.LossStreak(1), km.RandomActivation(0.0, seed=1)):
        assert not bool(condition.motivated.value)
    assert bool(km.RandomActivation(1.0, seed=1).motivated.value)


@pytest.mark.parametrize("condition", [km.Always, km.Never, lambda: km.RandomActivation(1.0, seed=0)])
def test_a_bad_loss_never_starts_or_sustains_motivation(condition):
    motivated = not isinstance(condition(), km.Never)
    assert decisions(condition(), [1.0, float("nan"), 1.0, float("inf")]) == [motivated, False, motivated, False]


def test_random_activation_has_the_share_and_the_seed():
    draws = [decisions(km.RandomActivation(0.3, seed=7), np.ones(1000)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert np.mean(draws[0]) == pytest.approx(0.3, abs=0.05)
    assert decisions(km.RandomActivation(0.3, seed=8), np.ones(1000)) != draws[0]
    assert km.RandomActivation(0.3).seed != km.RandomActivation(0.3).seed


@pytest.mark.parametrize("condition", [km.LossStreak(3), km.Always(), km.Never(), km.RandomActivation(0.25, seed=3)])
def test_serialisation(condition):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(condition))
    assert type(twin) is type(condition)
    assert twin.get_config() == condition.get_config()


def test_get():
    instance = km.LossStreak(4)
    assert km.conditions.get(instance) is instance
    for name in ("loss_streak", "LossStreak", "keras_motivation>LossStreak"):
        assert km.conditions.get(name).k == 2
    assert km.conditions.get(keras.saving.serialize_keras_object(instance)).k == 4
    assert isinstance(km.conditions.get("tests>Alternate"), km.MotivationCondition)


@pytest.mark.parametrize(
    ("identifier", "error", "message"),
    [
        ("loss_streek", ValueError, "must name one of.*Received: motivation='loss_streek'"),
        ("random_activation", ValueError, "needs arguments"),
        (3, TypeError, "Received: motivation=3"),
        (None, TypeError, "Received: motivation=None"),
        (keras.losses.MeanSquaredError(), TypeError, "must be a `MotivationCondition`"),
    ],
)
def test_get_refuses(identifier, error, message):
    with pytest.raises(error, match=message):
        km.conditions.get(identifier)


@pytest.mark.parametrize("k", [0, -1, 1.5, "2", True, None])
def test_loss_streak_refuses(k):
    with pytest.raises(ValueError, match=r"`k` must be an integer of at least 1\. Received: k="):
        km.LossStreak(k)


@pytest.mark.parametrize("probability", [-0.1, 1.1, "half", None, float("nan")])
def test_random_activation_refuses(probability):
    with pytest.raises(ValueError, match=r"`probability` must be a number in \[0, 1\]. Received: probability="):
        km.RandomActivation(probability)


def test_a_condition_without_update_says_so():
    with pytest.raises(NotImplementedError, match="must implement `update"):
        km.MotivationCondition().observe(1.0)
