"""Motivation conditions against plain Python, and their life as Keras objects."""

import math

import helpers  # also registers "helpers>Alternate"
import keras
import numpy as np
import pytest

import keras_motivation as km


def decisions(condition, losses):
    return [bool(condition.observe(np.float32(loss))) for loss in losses]


def test_loss_streak_on_noise_is_motivated_at_the_share_of_pure_chance():
    losses = np.random.default_rng(0).normal(size=1000)
    for k in (1, 2, 3):
        assert np.mean(decisions(km.LossStreak(k), losses)) == pytest.approx(1 / math.factorial(k + 1), abs=0.03)


def spells(flags):
    """Lengths of the runs of true flags."""
    return [len(run) for run in "".join("x" if flag else " " for flag in flags).split()]


def test_loss_trend_comes_in_spells_and_hears_a_trend_through_noise():
    noise = np.random.default_rng(2).normal(size=1000)
    falling, rising = noise - 0.01 * np.arange(1000), noise + 0.01 * np.arange(1000)
    assert np.mean(decisions(km.LossTrend(), falling)[100:]) > 0.85
    assert np.mean(decisions(km.LossTrend(), rising)[100:]) < 0.15
    on_noise = decisions(km.LossTrend(), noise)
    assert 0.3 < np.mean(on_noise) < 0.7
    assert np.mean(spells(on_noise)) > 3 * np.mean(spells(decisions(km.LossStreak(2), noise)))


def test_a_bad_loss_leaves_the_means_as_they_are():
    condition = km.LossTrend(fast=1, slow=4)
    assert decisions(condition, [4.0, 3.0, float("nan"), 3.5, float("inf"), 3.4]) == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]


def test_between_hears_all_losses_and_heeds_some():
    losses = [5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.4]
    inside = decisions(km.Between(km.LossStreak(2), start=4, stop=6), losses)
    assert inside == [False, False, False, True, True, False, False]  # decides on batch 4 after hearing 4 losses
    assert not bool(km.Between(km.Always(), start=1).motivated)
    assert bool(km.Between(km.Always()).motivated)


def test_a_schedule_is_replayed():
    flags = [True, False, True, True]
    condition = km.Schedule(flags)
    assert [bool(condition.motivated), *decisions(condition, np.ones(5))] == [*flags, False, False]


def test_first_batch():
    assert bool(km.Always().motivated)
    for condition in (km.Never(), km.LossStreak(1), km.RandomActivation(0.0, seed=1)):
        assert not bool(condition.motivated)
    assert bool(km.RandomActivation(1.0, seed=1).motivated)


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


@pytest.mark.parametrize(
    "condition",
    [
        km.LossStreak(3),
        km.LossTrend(3, 9),
        km.LossPlateau(share=0.3, longest=200),
        km.Phases((0.5, 0), (1.0, km.LossStreak(3))),
        km.Budget(0.5, km.Phases((3, 0), (None, 1))),
        km.Between(km.LossStreak(3), start=2, stop=5),
        km.Schedule([True, False]),
        km.Always(),
        km.Never(),
        km.RandomActivation(0.25, seed=3),
    ],
)
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
    assert isinstance(km.conditions.get("helpers>Alternate"), km.MotivationCondition)


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


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: km.LossTrend(0, 5), ValueError, "`fast` must be an integer of at least 1. Received: fast=0"),
        (lambda: km.LossTrend(5, 5), ValueError, "`slow` must be an integer of at least 6. Received: slow=5"),
        (lambda: km.Between("always"), TypeError, "`condition` must be a `MotivationCondition`"),
        (lambda: km.Between(km.Always(), start=-1), ValueError, "`start` must be an integer of at least 0"),
        (lambda: km.Between(km.Always(), 5, 5), ValueError, "`stop` must be an integer of at least 6"),
        (lambda: km.Schedule([]), ValueError, "`motivated` must be a list of booleans"),
        (lambda: km.Schedule([0, -2]), ValueError, "`motivated` must be a list of booleans"),
        (lambda: km.Schedule([[True]]), ValueError, "`motivated` must be a list of booleans"),
    ],
)
def test_new_conditions_refuse(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("probability", [-0.1, 1.1, "half", None, float("nan")])
def test_random_activation_refuses(probability):
    with pytest.raises(
        ValueError,
        match=r"`probability` must be a number in \[0, 1\], or numbers with a sum in \[0, 1\]. Received: probability=",
    ):
        km.RandomActivation(probability)


def test_a_condition_without_update_says_so():
    with pytest.raises(NotImplementedError, match="must implement `update"):
        km.MotivationCondition().observe(1.0)


class Speaking(km.LossStreak):
    def logs(self):
        return {"streak": self.streak.value}


def test_a_condition_can_add_to_the_logs():
    model, seen = helpers.compiled(Speaking(k=1)), []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(int(logs["streak"])))
    record = km.MotivationHistory()
    helpers.fit(model, callbacks=[note, record])
    falls = np.diff(record.losses) < 0
    expected = [0]
    for fell in falls:
        expected.append((expected[-1] + 1) * int(fell))
    assert seen == expected
    assert max(seen) > 0
