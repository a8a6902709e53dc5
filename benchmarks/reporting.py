"""One line of JSON for each measurement: the figures, and what one needs to know to take them again."""

import datetime
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import keras

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from image_measures import device, versions


def report(settings: Mapping[str, Any], figures: Mapping[str, Any], output: pathlib.Path | None) -> dict[str, Any]:
    """Appends the line to a file.

    Args:
        settings: What the script was asked for, its defaults filled in.
        figures: What it measured.
        output: The file; `None` writes none.

    Returns:
        The line.
    """
    script, *arguments = sys.argv
    if "--output" in arguments:  # where the line goes says nothing about it
        at = arguments.index("--output")
        del arguments[at : at + 2]
    line = {
        "benchmark": pathlib.Path(script).stem,
        "settings": dict(settings),
        **figures,
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "command": " ".join([f"benchmarks/{pathlib.Path(script).name}", *arguments]),
        "date": datetime.date.today().isoformat(),
        "backend": keras.backend.backend(),
        "device": device(),
        "versions": versions(),
    }
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a") as file:
            file.write(json.dumps(line) + "\n")
    return line
