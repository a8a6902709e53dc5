"""Times subjects in turn, round by round, so that what disturbs the machine disturbs all of them alike."""

import random
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np


def rounds(subjects: Mapping[str, Callable[[], object]], count: int) -> list[dict[str, float]]:
    """Seconds that each subject took in each round, in an order drawn anew; two rounds before are not counted.

    Args:
        subjects: Functions that return when their work is done, also on a device.
        count: How many rounds are counted.
    """
    shuffled = random.Random(0)
    found = []
    for _ in range(count + 2):
        seconds = {}
        for name in shuffled.sample(list(subjects), len(subjects)):
            start = time.perf_counter()
            subjects[name]()
            seconds[name] = time.perf_counter() - start
        found.append(seconds)
    return found[2:]


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, rounded."""
    low, median, high = np.percentile(ratios, (25, 50, 75))
    return {"median": round(float(median), 3), "low": round(float(low), 3), "high": round(float(high), 3)}
