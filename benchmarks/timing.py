"""Times subjects in turn, round by round, so that what disturbs the machine disturbs all of them alike."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def _function_with_room() -> Callable[..., None]:
    """A function that calls its argument with memory at hand for the frames of all calls in it.

    CPython keeps frames in chunks of 16 KiB. Where a hot function happens to stand at the end of one, each of its calls
    maps a new chunk and unmaps it again: in eager PyTorch 10 ms of a batch of 60, for the one model or the other by
    accident of the depth of calls. A frame of 100,000 variables gets a chunk in which nothing comes near the end.
    """
    variables = "=".join(f"v{i}" for i in range(100_000))
    names: dict[str, Any] = {}
    exec(f"def call(subject):\n if 0:\n  {variables} = 0\n subject()", names)
    return names["call"]


def rounds(subjects: Mapping[str, Callable[[], object]], count: int) -> list[dict[str, float]]:
    """Seconds that each subject took in each round, in an order drawn anew; two rounds before are not counted.

    Args:
        subjects: Functions that return when their work is done, also on a device.
        count: How many rounds are counted.
    """
    shuffled = random.Random(0)
    call = _function_with_room()
    found = []
    for _ in range(count + 2):
        seconds = {}
        for name in shuffled.sample(list(subjects), len(subjects)):
            start = time.perf_counter()
            call(subjects[name])
            seconds[name] = time.perf_counter() - start
        found.append(seconds)
    return found[2:]


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, rounded."""
    low, median, high = np.percentile(ratios, (25, 50, 75))
    return {"median": round(float(median), 3), "low": round(float(low), 3), "high": round(float(high), 3)}
