"""What a pair costs once: the package's import, the pair's construction, the first steps, the peak of memory.

    KERAS_BACKEND=jax python benchmarks/startup.py --output benchmarks/results/speed/startup.jsonl

Each subject runs in processes of its own, in turn with what it is compared with; medians and quartiles over rounds.
"""

import argparse
import importlib
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Measured = dict[str, float]

# The subjects of each figure, and the figure.
FIGURES: dict[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "import_milliseconds": (("import",), lambda package: 1000 * package["seconds"]),
    "construction_seconds": (("construct",), lambda pair: pair["seconds"]),
    "first_steps_ratio": (("first stock steps", "first steps"), lambda stock, pair: pair["seconds"] / stock["seconds"]),
    # The stock fit of the motivated model alone does not hold the base.
    "peak_memory_ratio": (
        ("stock epoch", "epoch"),
        lambda stock, pair: pair["bytes"] / (stock["bytes"] + stock["base"]),
    ),
}


def models(options: argparse.Namespace) -> list[Any]:
    """The base and the motivated model."""
    import keras

    shape = (options.side, options.side, 3)
    names = (options.base, options.motivated)
    return [getattr(keras.applications, name)(weights=None, input_shape=shape, classes=10) for name in names]


def fit(model: Any, batches: int, options: argparse.Namespace, **kwargs: Any) -> None:
    """One epoch, by Adam."""
    x = np.zeros((batches * options.batch, options.side, options.side, 3), "float32")
    model.compile("adam", "sparse_categorical_crossentropy", **kwargs)
    model.fit(x, np.zeros(len(x), "int32"), batch_size=options.batch, shuffle=False, verbose=0)


def prepared(subject: str, built: list[Any], options: argparse.Namespace) -> Callable[[], object]:
    """What is to be measured, ready to run."""
    import keras_motivation as km

    base, motivated = built
    if subject == "construct":
        return lambda: km.MotivatedModel(base, motivated)
    if subject == "first stock steps":
        return lambda: [fit(model, 1, options) for model in built]
    if subject == "stock epoch":
        return lambda: fit(motivated, 8, options)
    batches = 2 if subject == "first steps" else 8
    condition = km.Schedule([False, True] * 4)
    return lambda: fit(km.MotivatedModel(base, motivated), batches, options, motivation=condition)


def peak_memory() -> int:
    """Bytes in use at the worst moment so far: of the accelerator if there is one, else of the process."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        if stats := jax.devices()[0].memory_stats():
            return int(stats["peak_bytes_in_use"])
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(action: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measured(subject: str, options: argparse.Namespace) -> Measured:
    """In this process: the subject's seconds, the bytes by which it raises the peak of memory, and the base's bytes."""
    if subject == "import":  # after Keras, which imports the backend, and before anything else
        importlib.import_module("keras")
        return {"seconds": timed(lambda: importlib.import_module("keras_motivation"))}
    built = models(options)
    action = prepared(subject, built, options)
    before = peak_memory()
    seconds = timed(action)
    held = [*built[0].variables, *2 * built[0].trainable_variables]  # Adam has two slots for each weight that it trains
    base = sum(math.prod(v.shape) * np.dtype(v.dtype).itemsize for v in held)
    return {"seconds": seconds, "bytes": peak_memory() - before, "base": base}


def in_process(subject: str) -> Measured:
    """`measured` in a process of its own, with the arguments of this one."""
    command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--subject", subject]
    # With bytecode, as an installed package has it: to compile this one's sources takes longer than to import it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base", default="EfficientNetB0", help="in keras.applications")
    add("--motivated", default="EfficientNetB1")
    add("--side", type=int, default=32)
    add("--batch", type=int, default=4)
    add("--figures", nargs="+", choices=FIGURES, default=list(FIGURES))
    add("--rounds", type=int, default=3)
    add("--subject", help="measure this one only, in this process")
    add("--output", type=pathlib.Path, help="file to append the line to")
    options = parser.parse_args()
    if options.subject:
        print(json.dumps(measured(options.subject, options)))
        return
    from reporting import report
    from timing import spread

    subjects = {subject for figure in options.figures for subject in FIGURES[figure][0]}
    found = [{subject: in_process(subject) for subject in sorted(subjects)} for _ in range(options.rounds)]
    figures = {
        figure: spread([value(*(r[subject] for subject in names)) for r in found])
        for figure, (names, value) in FIGURES.items()
        if figure in options.figures
    }
    settings = {name: getattr(options, name) for name in ("base", "motivated", "side", "batch", "rounds")}
    seconds = {subject: spread([r[subject]["seconds"] for r in found]) for subject in sorted(subjects)}
    for name, value in report(settings, {**figures, "seconds": seconds}, options.output).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
