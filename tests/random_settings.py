"""How many random pairs are drawn, and which.

Set RANDOM_PAIRS to try that many times as many, and RANDOM_PAIRS_SEED for others than usual:
`RANDOM_PAIRS=10 RANDOM_PAIRS_SEED=1 KERAS_BACKEND=torch pytest tests/nesting/test_random_pairs.py -s`.
"""

import os

import keras
from hypothesis import HealthCheck, Phase, settings

BACKENDS = ["tensorflow", "jax", "torch"]  # each draws pairs of its own
SEED = 10 * int(os.environ.get("RANDOM_PAIRS_SEED", "0")) + BACKENDS.index(keras.backend.backend())
TIMES = float(os.environ.get("RANDOM_PAIRS", "1"))


def many(examples):
    """Settings for so many pairs, the same ones in each run; a failing one is shown as it was drawn."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=max(1, round(examples * TIMES)),
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to make a failing pair smaller takes minutes
        suppress_health_check=checks,
    )
