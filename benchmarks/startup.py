"""What a pair costs before the first batch: the package's import, the pair's construction, the first steps.

    KERAS_BACKEND=jax python benchmarks/startup.py --output benchmarks/results/speed/startup.jsonl

Each figure is taken in processes of its own, in turn with what it is compared with; medians and quartiles over rounds.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

import keras
from timing import spread

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from image_measures import device, versions

BUILD = """
import keras
{packages}
base, motivated = (getattr(keras.applications, name)(weights=None, input_shape=({side}, {side}, 3), classes=10)
                   for name in ("{base}", "{motivated}"))
"""
FIT = """
import numpy as np
x, y = np.zeros(({batches}, {side}, {side}, 3), "float32"), np.zeros({batches}, "int32")
{model}.compile("sgd", "sparse_categorical_crossentropy", {kwargs})
{model}.fit(x, y, batch_size=1, shuffle=False, verbose=0)
"""
# The second batch is motivated: both kinds of batches are compiled, each once.
PAIR = "pair = km.MotivatedModel(base, motivated)"
SWITCH = FIT.format(model="pair", batches=2, side="{side}", kwargs="motivation=km.Schedule([False, True])")


def seconds(code: str) -> float:
    """How long code took in a new process; where a line of `#` parts it, what follows."""
    before, _, after = code.rpartition("\n#\n")
    timed = f"{before}\nimport time; start = time.perf_counter()\n{after}\nprint('took', time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", timed], capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise RuntimeError(f"{timed}\n{done.stderr[-3000:]}")
    return float(done.stdout.split("took")[-1])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base", default="EfficientNetB0", help="in keras.applications")
    add("--motivated", default="EfficientNetB1")
    add("--side", type=int, default=32)
    add("--rounds", type=int, default=3)
    add("--output", type=pathlib.Path, help="file to append the line to")
    options = parser.parse_args()
    names = {"base": options.base, "motivated": options.motivated, "side": options.side}
    both = BUILD.format(packages="import keras_motivation as km", **names)
    stock = BUILD.format(packages="", **names)
    programs = {
        "import keras": "import keras",
        "import both": "import keras\nimport keras_motivation",
        "construct": f"{both}\n#\n{PAIR}",
        "first steps": f"{both}\n{PAIR}\n#\n{SWITCH.format(side=options.side)}",
        "first stock steps": f"{stock}\n#\n"
        + "".join(FIT.format(model=model, batches=1, side=options.side, kwargs="") for model in ("base", "motivated")),
    }
    found = [{name: seconds(code) for name, code in programs.items()} for _ in range(options.rounds)]
    line = {
        "benchmark": "startup",
        "settings": names | {"rounds": options.rounds},
        "import_milliseconds": spread([1000 * (r["import both"] - r["import keras"]) for r in found]),
        "construction_seconds": spread([r["construct"] for r in found]),
        "first_steps_ratio": spread([r["first steps"] / r["first stock steps"] for r in found]),
        "first_stock_steps_seconds": spread([r["first stock steps"] for r in found]),
        "command": " ".join(["benchmarks/startup.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "backend": keras.backend.backend(),
        "device": device(),
        "versions": versions(),
    }
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with options.output.open("a") as file:
            file.write(json.dumps(line) + "\n")
    for name, value in line.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
