"""Accuracies over seeds, as the tables of image experiments show them."""

from collections.abc import Iterable

import numpy as np
from scipy import stats


def difference(values: dict[int, float], twins: dict[int, float]) -> tuple[float, float, int]:
    """The mean difference over the seeds that both have.

    Returns:
        The mean in points, half of its 95 % interval (Student's t; NaN for fewer than three seeds, where an interval
        says nothing), and the number of seeds.
    """
    seeds = sorted(values.keys() & twins.keys())
    differences = 100 * np.array([values[seed] - twins[seed] for seed in seeds])
    half = stats.t.ppf(0.975, len(seeds) - 1) * stats.sem(differences) if len(seeds) > 2 else np.nan
    return differences.mean() if seeds else np.nan, half, len(seeds)


def paired(values: dict[int, float], twins: dict[int, float]) -> str:
    """The mean difference as the tables show it: with its interval, or with the number of seeds where it has none."""
    mean, half, seeds = difference(values, twins)
    if not seeds:
        return ""
    if np.isnan(half):
        return f"{mean:+.2f} ({seeds} seed{'s' if seeds > 1 else ''})"
    return f"{mean:+.2f} ± {half:.2f}"


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation, in percent."""
    percent = 100 * np.array(list(values))
    return (
        ""
        if not len(percent)
        else f"{percent.mean():.2f}" + (f" ± {percent.std(ddof=1):.2f}" if len(percent) > 1 else "")
    )
