"""The chart of the README, from the committed lines of the CIFAR-10 runs: `python benchmarks/chart.py`.

It shows the cost and the accuracy of two settings at the tuned rate: the one in which the base gains, and the default.
Each model is compared with its twin: the same model, trained alone with the same seed. The tables of docs/results.md
have the same numbers.
"""

import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from image_settings import read
from image_statistics import difference

ROOT = pathlib.Path(__file__).parents[1]
LINES = ROOT / "benchmarks/results/cifar10-16x16-resnet-8-14.jsonl"
CHART = ROOT / "docs/results.svg"
EXPERIMENT = {"epochs": 6, "rate": 0.4, "warmup": 0.167, "extension": "silent", "statistics": "private"}
SETTINGS = {
    "late joint": {"arm": "motivation", "k": 1, "since": 0.333, "motivated_batch": "joint"},
    "default": {"arm": "motivation", "k": 2, "since": 0.0, "motivated_batch": "alternate"},
}
# A card of its own colour, so that the text is readable wherever a page's colours are not those of the system.
STYLE = """
    .page { fill: #f6f8fa } text { fill: #24292f } .rule { stroke: #8c959f } .both { fill: #6e7781 }
    .base { fill: #3464a8; stroke: #3464a8 } .motivated { fill: #b93a35; stroke: #b93a35 } .bar { stroke: none }
    @media (prefers-color-scheme: dark) {
      .page { fill: #1c2128 } text { fill: #e6edf3 } .rule { stroke: #768390 } .both { fill: #909dab }
      .base { fill: #6da2ec; stroke: #6da2ec } .motivated { fill: #f08780; stroke: #f08780 }
    }
"""


def runs(lines: Iterable[dict[str, Any]], **settings: Any) -> dict[int, dict[str, Any]]:
    """The runs of one arm, by seed."""
    wanted = EXPERIMENT | settings
    return {r["settings"]["seed"]: r for r in lines if wanted.items() <= r["settings"].items()}


def accuracies(found: dict[int, dict[str, Any]], model: str) -> dict[int, float]:
    """The test accuracy of one model by seed, with batch norm recalibrated."""
    return {seed: run["accuracy_recalibrated"][model] for seed, run in found.items()}


def cost(found: dict[int, dict[str, Any]]) -> float:
    """FLOPs of the whole training, relative to those of the motivated model alone."""
    return float(np.mean([run["cost_to_motivated"] for run in found.values()]))


def text(x: float, y: float, words: str, more: str = "") -> str:
    """A line of text that begins at `x`, unless `more` says otherwise."""
    return f'<text x="{x:g}" y="{y:g}"{more}>{words}</text>'


def costs(base: float, settings: dict[str, float], top: float) -> list[str]:
    """Bars: both models trained alone, one after the other, then each setting."""
    parts, left, unit = [], 152, 136.0
    for row, (name, value) in enumerate({"both alone": base + 1, **settings}.items()):
        y = top + 26 * row
        parts.append(text(14, y + 14, name))
        ends = [(0.0, value, "both")] if row else [(0.0, base, "base"), (base, 1.0, "motivated")]
        for start, width, kind in ends:
            x, width = left + unit * start, unit * width
            parts.append(f'<rect class="{kind} bar" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="18"/>')
        parts.append(text(left + unit * value + 8, y + 14, f"{value:.2f}"))
    return parts


def differences(rows: dict[tuple[str, str], tuple[float, float, int]], top: float) -> list[str]:
    """A point with its interval for each model of each setting, and the axis under them."""
    zero, unit = 238, 27.0
    parts = [f'<path class="rule" d="M{zero} {top:g} V{top + 26 * len(rows):g}"/>']
    for row, ((setting, model), (mean, half, _)) in enumerate(rows.items()):
        y = top + 26 * row + 13
        parts.append(text(14, y + 5, f"{setting}, {model}"))
        low, high, middle = (zero + unit * value for value in (mean - half, mean + half, mean))
        parts.append(f'<path class="{model}" stroke-width="3" d="M{low:.1f} {y:g} H{high:.1f}"/>')
        parts.append(f'<circle class="{model}" cx="{middle:.1f}" cy="{y:g}" r="5"/>')
        parts.append(text(396, y + 5, f"{mean:+.2f} ± {half:.2f}".replace("-", "&#8722;"), ' text-anchor="end"'))
    return parts


def draw(lines: Sequence[dict[str, Any]]) -> str:
    """The chart.

    Args:
        lines: The runs, as `image_settings.read` gives them.

    Returns:
        An SVG of 410 x 330, readable at four fifths of that, in the colours that the reader's system prefers.
    """
    alone = {"base": runs(lines, arm="base"), "motivated": runs(lines, arm="motivated-alone")}
    found = {name: runs(lines, **settings) for name, settings in SETTINGS.items()}
    rows = {
        (name, model): difference(accuracies(pair, model), accuracies(alone[model], model))
        for name, pair in found.items()
        for model in alone
    }
    price = {name: cost(pair) for name, pair in found.items()}
    seeds = " and ".join(dict.fromkeys(str(count) for *_, count in rows.values()))
    told = [f"{name}: FLOPs {value:.2f}" for name, value in price.items()]
    told += [f"{name}, {model}: {mean:+.2f} ± {half:.2f} points" for (name, model), (mean, half, _) in rows.items()]
    parts = [
        '<rect class="page" width="410" height="330" rx="10"/>',
        text(14, 28, "Training cost in FLOPs (motivated alone: 1)", ' font-weight="bold"'),
        *costs(cost(alone["base"]), price, 40),
        text(14, 148, "Test accuracy minus the twin's, in points", ' font-weight="bold"'),
        *differences(rows, 158),
        text(14, 290, "CIFAR-10 at 16x16, ResNet-8 in ResNet-14,"),
        text(14, 312, f"{EXPERIMENT['epochs']} epochs; 95 % intervals; {seeds} seeds"),
    ]
    body = "\n  ".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="410" height="330" viewBox="0 0 410 330" role="img" '
        f'aria-label="{"; ".join(told)}" font-family="system-ui, sans-serif" font-size="15">\n'
        f"  <style>{STYLE}  </style>\n  {body}\n</svg>\n"
    )


if __name__ == "__main__":
    CHART.write_text(draw(read(LINES)))
