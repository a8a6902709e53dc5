"""Accuracies over seeds, as the tables of image experiments show them."""

from collections.abc import Iterable

import numpy as np
from scipy import stats


def paired(values: dict[int, float], twins: dict[int, float]) -> str:
    """Mean difference over the seeds that both have, in points, with a 95 % interval (Student's t)."""
    seeds = sorted(values.keys() & twins.keys())
    if not seeds:
        return ""
    differences = 100 * np.array([values[seed] - twins[seed] for seed in seeds])
    if len(seeds) < 3:  # an interval from two says nothing
        return f"{differences.mean():+.2f} ({len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
    half = stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(differences)
    return f"{differences.mean():+.2f} ± {half:.2f}"


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation, in percent."""
    percent = 100 * np.array(list(values))
    return (
        ""
        if not len(percent)
        else f"{percent.mean():.2f}" + (f" ± {percent.std(ddof=1):.2f}" if len(percent) > 1 else "")
    )
