"""Makes tables of image experiments from their JSON lines.

    python examples/image_report.py benchmarks/results/{cifar10,digits}*.jsonl --page docs/results.md

Each arm is compared with the standalone twin of the same seed, so that effects of the seed cancel out. The part of the
page between the marks `<!-- tables -->` and `<!-- end of tables -->` is replaced. Without `--page`, the tables are
printed.
"""

import argparse
import collections
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from image_settings import described, read
from image_statistics import paired, spread

ENOUGH = 5  # seeds; tables say where there are fewer
# Settings in which the arms of one experiment differ. Experiments differ in the other settings.
ARM = ("arm", "k", "trend", "share", "since", "until", "motivated_batch", "extension", "statistics")
MARKS = re.compile(r"(<!-- tables -->\n).*?(<!-- end of tables -->)", re.DOTALL)
HEAD = (
    "| arm | seeds | share | base | base - alone | motivated | motivated - alone | FLOPs | fit (s) |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
# What is still to be run, on a GPU: data, pair, optimizer.
PLANNED = [
    ("cifar10", "resnet-20/32", "whole images, enough epochs for 90 %"),
    ("cifar10", "resnet-20/20-wide", "whole images, enough epochs for 90 %"),
    ("cifar100", "efficientnet-b0/b1", "images of 64"),
    ("cifar100", "efficientnet-b1/b2", "images of 64"),
    ("cifar10", "vit-tiny/small", "whole images, adamw"),
]


def table(lines: Sequence[dict[str, Any]], which: str) -> str:
    """One experiment: its arms in the order in which they were run."""
    arms: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = collections.defaultdict(dict)
    for line in lines:
        arms[tuple(line["settings"][name] for name in ARM)][line["settings"]["seed"]] = line

    def accuracies(runs: dict[int, dict[str, Any]], model: str) -> dict[int, float]:
        return {seed: line[which][model] for seed, line in runs.items() if model in line[which]}

    alone = {runs[next(iter(runs))]["settings"]["arm"]: runs for runs in arms.values()}
    twins = {
        "base": accuracies(alone.get("base", {}), "base"),
        "motivated": accuracies(alone.get("motivated-alone", {}), "motivated"),
    }
    rows = []
    for runs in arms.values():
        settings = next(iter(runs.values()))["settings"]
        cells = [described(settings), str(len(runs)) + ("" if len(runs) >= ENOUGH else " (too few)")]
        cells.append("" if settings["arm"] == "base" else f"{np.mean([line['share'] for line in runs.values()]):.0%}")
        for model in ("base", "motivated"):
            found = accuracies(runs, model)
            standalone = settings["arm"] == {"base": "base", "motivated": "motivated-alone"}[model]
            cells += [spread(found.values()), "" if standalone else paired(found, twins[model])]
        cells.append(f"{np.mean([line['cost_to_motivated'] for line in runs.values()]):.2f}")
        cells.append(f"{np.median([line['fit_seconds'] for line in runs.values()]):.0f}")
        rows.append("| " + " | ".join(cells) + " |")
    return '<div class="numbers" markdown>\n\n' + HEAD + "\n".join(rows) + "\n\n</div>\n"


def report(lines: Sequence[dict[str, Any]]) -> str:
    """The tables of all experiments, and what is still to be run."""
    experiments: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for line in lines:
        common = {k: v for k, v in line["settings"].items() if k not in (*ARM, "seed")}
        # A seed gives other numbers under another backend.
        common |= {"backend": line["backend"], "device": line["device"]}
        experiments[json.dumps(common)].append(line)
    parts = []
    order = list(dict.fromkeys((line["settings"]["data"], line["settings"]["pair"]) for line in lines))

    def rank(item: tuple[str, list[dict[str, Any]]]) -> tuple[int, int]:
        first = item[1][0]["settings"]
        return order.index((first["data"], first["pair"])), -len(item[1])

    for key, found in sorted(experiments.items(), key=rank):  # of one pair, the experiment with the most runs first
        settings = json.loads(key)
        images = f"{settings['examples'] or 'all'} training images"
        images += f" of {settings['image_size']}x{settings['image_size']}" if settings["image_size"] else ""
        rate = f"rate {settings['rate']}" if settings["rate"] else "default rate"
        rate += f" after {settings['warmup']:.0%} warm-up" if settings["warmup"] else ""
        machines = sorted(
            {f"{line['backend']} {line['versions'][line['backend']]} on {line['device']}" for line in found}
        )
        few = max(line["settings"]["seed"] for line in found) < 2  # then the second table is left out
        parts.append(
            f"### {settings['data']}, {settings['pair']}, {settings['epochs']} epochs, {rate}\n\n{images}, batches of "
            f"{settings['batch']}, {settings['optimizer']}; {len(found)} runs; {'; '.join(machines)}.\n\n"
            f"With batch norm recalibrated:\n\n{table(found, 'accuracy_recalibrated')}\n"
            + ("" if few else f"As trained:\n\n{table(found, 'accuracy')}")
        )
    done = {
        (line["settings"]["data"], line["settings"]["pair"])
        for line in lines
        if not line["device"].startswith("cpu")
        and line["settings"]["examples"] is None
        and line["settings"]["seed"] > 1
    }
    rows = [f"| {data} | {pair} | {note} | open |" for data, pair, note in PLANNED if (data, pair) not in done]
    parts.append(
        "### Still to be run, on a GPU\n\n| data | pair | setting | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the lines, writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="+", type=pathlib.Path, help="files of JSON lines")
    parser.add_argument("--page", type=pathlib.Path, help="page whose tables are replaced")
    options = parser.parse_args(arguments)
    tables = report(read(*options.lines))
    if options.page is None:
        print(tables)
        return
    page, replaced = MARKS.subn(lambda match: match[1] + "\n" + tables + "\n" + match[2], options.page.read_text())
    if not replaced:
        raise ValueError(f"The page must have the marks <!-- tables --> and <!-- end of tables -->: {options.page}")
    options.page.write_text(page)


if __name__ == "__main__":
    main()
