"""Plots of a training: the motivated batches, their share, and accuracy against cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_motivation.reports.history import MotivationHistory

BASE, MOTIVATED, NEUTRAL = "tab:blue", "tab:red", "0.6"


def plot_losses(record: MotivationHistory, ax: Any = None, window: int | None = None) -> Any:
    """Draws the loss of each batch and its running mean, and shades the motivated batches.

    Args:
        record: The callback, after `fit`.
        ax: Matplotlib axes to draw into; `None` makes a figure.
        window: Number of batches in the running mean; `None` takes a fiftieth of all batches, at least 5.

    Returns:
        The axes.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If nothing was recorded.

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> base, larger = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]) for _ in range(2)]
        >>> model = km.MotivatedModel(base, larger)
        >>> model.compile("sgd", "mse", motivation=km.LossStreak(k=1))
        >>> record = km.MotivationHistory()
        >>> history = model.fit(np.ones((64, 4)), np.ones((64, 1)), batch_size=4, verbose=0, callbacks=[record])
        >>> km.plots.plot_losses(record).get_xlabel()
        'batch'
    """
    losses, motivated = record.losses, record.motivated
    _check_recorded(losses)
    ax = _axes(ax)
    highest = max(1, record.levels.max(initial=0))
    for level in range(1, highest + 1):  # the higher, the darker
        for start, stop in spans(record.levels == level):
            ax.axvspan(start - 0.5, stop - 0.5, color=MOTIVATED, alpha=0.15 + 0.3 * (level - 1) / highest, linewidth=0)
    ax.plot(losses, color=NEUTRAL, linewidth=0.8, label="loss of a batch")
    window = window or max(5, len(losses) // 50)
    if len(losses) >= window:
        mean = np.convolve(losses, np.ones(window) / window, mode="valid")
        ax.plot(np.arange(window - 1, len(losses)), mean, color="black", linewidth=1.5, label=f"mean of {window}")
    if motivated.any():
        ax.fill_between([], [], color=MOTIVATED, alpha=0.3, label=f"motivated ({motivated.mean():.0%})")
    positive = losses[np.isfinite(losses)].min(initial=1.0) > 0
    ax.set(xlabel="batch", ylabel="training loss", yscale="log" if positive else "linear")
    ax.set_title("Which model trained")
    ax.legend()
    return ax


def plot_share(record: MotivationHistory, ax: Any = None) -> Any:
    """Draws the share of motivated batches by epoch, in percent.

    Args:
        record: The callback, after `fit`.
        ax: Matplotlib axes to draw into; `None` makes a figure.

    Returns:
        The axes.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If nothing was recorded.
    """
    epochs = record.epochs
    _check_recorded(epochs)
    ax = _axes(ax)
    ax.bar(np.arange(1, len(epochs) + 1), [100 * (epoch > 0).mean() for epoch in epochs], color=MOTIVATED)
    ax.set(xlabel="epoch", ylabel="motivated batches (%)", ylim=(0, 100), title="Share of motivated batches")
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def plot_accuracy(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    costs: Mapping[str, float],
    metric: str = "val_accuracy",
    ax: Any = None,
) -> Any:
    """Draws a metric against training cost, for both models of pairs and for standalone runs.

    Args:
        histories: For each run its name and the `history.history` of its `fit`. A pair has two curves: one of the base,
            and one of the motivated model (`val_motivated_accuracy`); a family has one for each of its models.
        costs: For each run the FLOPs of its whole training, in any unit: `training_cost().flops`, or
            `3 * count_flops(model) * examples` for a standalone run.
        metric: Name of the metric in the history of a standalone run.
        ax: Matplotlib axes to draw into; `None` makes a figure.

    Returns:
        The axes. The cost is relative to the most expensive run. All epochs of a run are assumed to cost the same.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If a run has no cost or no such metric.
    """
    ax = _axes(ax)
    unit = max(costs.values(), default=1.0)
    for i, (name, history) in enumerate(histories.items()):
        if name not in costs or metric not in history:
            raise ValueError(
                f"Arguments `histories` and `costs` must have '{metric}' and a cost for each run. Received for "
                f"'{name}': {sorted(history)} and costs of {sorted(costs)}"
            )
        values = history[metric]
        cost = costs[name] / unit * np.arange(1, len(values) + 1) / len(values)
        larger = _of_motivated(history, metric)
        ax.plot(cost, values, "-" if larger else "--", color=f"C{i}", label=f"{name}: base" if larger else name)
        for j, (role, key) in enumerate(larger.items()):
            line = {"color": f"C{i}", "linewidth": 2.5 + j, "alpha": 0.6 / (1 + 0.5 * j)}
            ax.plot(cost, history[key], "-", label=f"{name}: {role}", **line)
    ax.set(xlabel="training FLOPs, relative to the most expensive run", ylabel=metric.replace("_", " "))
    ax.set_title("What accuracy costs")
    ax.legend()
    return ax


def _of_motivated(history: Mapping[str, Any], metric: str) -> dict[str, str]:
    """The names of a metric of the motivated models, by role: one of a pair, several of a family."""
    before, after = ("val_", metric.removeprefix("val_")) if metric.startswith("val_") else ("", metric)
    roles = ["motivated", *(f"motivated_{i}" for i in range(1, len(history)))]
    return {role.replace("_", " "): key for role in roles if (key := f"{before}{role}_{after}") in history}


def spans(flags: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of true flags, as (first, one after the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2])]


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('Plots need matplotlib: pip install "keras-motivation[plot]"') from error
    return plt.subplots(figsize=(7, 4.5), layout="constrained")[1]


def _check_recorded(found: Any) -> None:
    if not len(found):
        raise ValueError("Argument `record` must have recorded batches: pass it to `fit` first. Received: none")
