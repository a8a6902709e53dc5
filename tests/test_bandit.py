"""The bandit of `benchmarks/bandit.py`: a user's own condition, with a policy in variables and saved draws."""

import json
import pathlib
import sys

import keras
import numpy as np
import pytest
from helpers import compiled, fit, numpy

import keras_motivation as km

SCRIPTS = str(pathlib.Path(__file__).parents[1] / "benchmarks")
COSTS = 0.5, 1.0, 1.5


@pytest.fixture
def bandit(monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setattr(sys, "path", [SCRIPTS, *sys.path])
    import bandit

    yield bandit
    for name in [name for name in sys.modules if name in ("bandit", "reporting") or name.startswith("image_")]:
        del sys.modules[name]


def play(condition, best, batches):
    """Levels of a made-up training: at the best level, the loss falls eight times as fast per FLOP as at the others."""
    loss, levels = 9.0, []
    for _ in range(batches):
        level = int(condition.level.value)
        levels.append(level)
        loss -= COSTS[level] * (0.008 if level == best else 0.001)
        condition.observe(loss)
    return np.array(levels)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_it_finds_the_better_level(bandit, best):
    condition = bandit.GainPerFlop(spell=1, step=0.2, seed=1)
    condition.bind(2, lambda: COSTS)
    levels = play(condition, best, 200)
    assert (levels[100:] == best).mean() > 0.75


def test_a_spell_has_one_level(bandit):
    condition = bandit.GainPerFlop(spell=5, step=1.0, seed=0)
    condition.bind(2, lambda: COSTS)
    spells = play(condition, 1, 100).reshape(20, 5)
    assert (spells == spells[:, :1]).all()
    assert len(set(spells[:, 0])) == 3


def test_the_policy_stays_finite(bandit):
    condition = bandit.GainPerFlop(spell=1, step=1.0, seed=0)
    for loss in [1.0, float("nan"), 1.0, float("inf"), 1.0, 1.0, 0.0, 1e6, 1.0, -1e6]:
        condition.observe(loss)
    policy = keras.ops.convert_to_numpy(condition.policy())
    assert policy.min() > 0.01
    assert policy.sum() == pytest.approx(1.0)


def levels_of(model, **kwargs):
    record = km.MotivationHistory()
    fit(model, callbacks=[record], **kwargs)
    return record.levels.tolist()


def test_a_saved_seed_repeats_the_choice(bandit, tmp_path):
    model = compiled(bandit.GainPerFlop(spell=2, seed=3), motivated_batch=["alternate", "joint"])
    assert model.motivation.costs == pytest.approx(model._level_costs(model._compiled_pair.kinds))
    first = levels_of(model, epochs=2)
    assert len(set(first)) > 1
    model.save(tmp_path / "pair.keras")
    loaded = keras.models.load_model(tmp_path / "pair.keras")
    for before, after in zip(model.motivation.variables, loaded.motivation.variables):
        np.testing.assert_array_equal(numpy(before), numpy(after))
    following = levels_of(model, epochs=3)
    assert levels_of(loaded, epochs=3) == following
    again = compiled(bandit.GainPerFlop(spell=2, seed=3), motivated_batch=["alternate", "joint"])
    assert levels_of(again, epochs=2) == first


def test_it_must_know_all_levels(bandit):
    with pytest.raises(ValueError, match="`levels` must be 2"):
        compiled(bandit.GainPerFlop(levels=3))


def test_the_tables(bandit):
    lines = []
    for seed in range(3):
        for arm, more, losses in (
            ("base", {}, {"base": 2.0}),
            ("motivated", {}, {"motivated": 1.5}),
            ("bandit", {"step": 1.0}, {"base": 2.25, "motivated": 1.75}),
            ("phases", {"cost_of": "bandit"}, {"base": 2.125, "motivated": 1.5}),
        ):
            settings = {"arm": arm, "seed": seed, **more}
            levels = "0122" if len(losses) == 2 else ""
            line = {"settings": settings, "validation_loss": losses, "cost_to_motivated": 1.0, "levels": levels}
            lines.append(json.loads(json.dumps(line | {"fit_seconds": 3.0})))
    text = bandit.tables(lines)
    assert "| bandit | 3 | 25%, 25%, 50% | 2.250 | +0.250 ± 0.000 | 1.750 | +0.250 ± 0.000 | 1.00 | 3 |" in text
    assert "| bandit | phases | 3 | +0.125 ± 0.000 | +0.250 ± 0.000 | +0.375 ± 0.000 |" in text
