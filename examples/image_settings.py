"""The settings of a run of an image experiment, from the command line."""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import Any

ARMS = ("base", "motivated-alone", "motivation", "random", "count-matched", "base-weighted")
BATCHES = {"alternate": (0.0, 1.0), "joint": (1.0, 1.0), "average": (0.5, 0.5)}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The settings of a run."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--data", default="digits", help="digits, cifar10, cifar100, or an .npz with keras.datasets.cifar10's arrays")
    add("--examples", type=int, help="take this many training images only")
    add("--image-size", type=int, help="average the images down to this size")
    add("--pair", default="resnet-8/14", help="a name in image_models.PAIRS")
    add("--arm", choices=ARMS, default="motivation", help="base-weighted: the base alone, with the joint loss's weight")
    add("--k", type=int, default=2, help="falls of the loss in a row that start motivation; 0: always")
    add("--trend", action="store_true", help="instead of --k: motivated while recent losses are below earlier losses")
    add("--share", type=float, help="of motivated batches, for --arm random; that of the recorded run if left out")
    add("--since", type=float, default=0.0, help="the part of the training before which no batch is motivated")
    add("--until", type=float, default=1.0, help="the part of the training after which no batch is motivated")
    add("--motivated-batch", choices=BATCHES, default="alternate")
    add("--extension", choices=("silent", "random"), default="silent")
    add("--statistics", choices=("private", "shared"), default="private")
    add("--seed", type=int, default=0)
    add("--epochs", type=int, default=10)
    add("--batch", type=int, default=128)
    add("--optimizer", choices=("sgd", "adamw"), default="sgd")
    add("--rate", type=float, help="highest learning rate, of a cosine; 0.1 for sgd, 0.001 for adamw")
    add("--warmup", type=float, default=0.0, help="the part of the training in which the rate rises from 0 to --rate")
    add("--record", help="file with the line of the `motivation` run that `random` and `count-matched` go by")
    add("--output", help="file to append the line to")
    return parser.parse_args(arguments)


def settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that affect the result of a run. Lines that are older than a setting have its default."""
    kept = {name: value for name, value in {**vars(parse([])), **options}.items() if name not in ("record", "output")}
    return kept | {"data": pathlib.Path(kept["data"]).stem}


def read(*files: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of finished runs, with all their settings."""
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [{**line, "settings": settings(line["settings"])} for line in lines]


def described(settings: dict[str, Any]) -> str:
    """An arm in words."""
    arm = settings["arm"]
    if arm in ("base", "motivated-alone"):
        return {"base": "base alone", "motivated-alone": "motivated alone"}[arm]
    trigger = "trend" if settings["trend"] else f"k={settings['k']}" if settings["k"] else "always"
    parts = {
        "motivation": trigger,
        "random": f"A: random, share of {trigger}" if settings["share"] is None else f"random, {settings['share']:.0%}",
        "count-matched": f"B: counts of {trigger}, other places",
        "base-weighted": f"control: base alone, weight 2 at {trigger}",
    }[arm]
    details = [parts]
    if settings["since"] > 0:
        details.append(f"from {settings['since']:.0%} on")
    if settings["until"] < 1:
        details.append(f"first {settings['until']:.0%}")
    if settings["motivated_batch"] != "alternate" and arm != "base-weighted":
        details.append(settings["motivated_batch"])
    if settings["extension"] == "random":
        details.append("random extension")
    if settings["statistics"] == "shared":
        details.append("shared statistics")
    return ", ".join(details)
