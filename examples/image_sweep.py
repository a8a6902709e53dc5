"""Runs all arms of an image experiment over seeds, one process for each run. Continues where it stopped.

    KERAS_BACKEND=torch python examples/image_sweep.py --output runs.jsonl --seeds 5 --jobs 2 -- --data digits

Arguments after `--` are passed to `image_classification.py`. Runs that are in the output file are not repeated.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

import keras
from image_settings import parse, read, settings

SCRIPT = pathlib.Path(__file__).with_name("image_classification.py")
KS, STATISTICS = ("1", "2", "3"), ("private", "shared")
LATE_JOINT = ["--k", "1", "--since", "0.333", "--motivated-batch", "joint"]
# The arms of the paper, with its own setting. Then arms that might do better, each with its control.
GROUPS: dict[str, list[list[str]]] = {
    "paper": [
        ["--arm", "base"],
        ["--arm", "motivated-alone"],
        *(["--k", k, "--statistics", statistics] for k in KS for statistics in STATISTICS),
        *(["--k", k, "--statistics", "shared", "--extension", "random"] for k in ("1", "2")),
        ["--k", "2", "--extension", "random"],
        ["--arm", "random"],
        ["--arm", "count-matched"],
    ],
    "remedies": [
        ["--trend"],
        ["--k", "1", "--until", "0.5"],
        ["--trend", "--until", "0.5"],
        *(["--k", "1", "--motivated-batch", kind] for kind in ("joint", "average")),
        ["--trend", "--motivated-batch", "joint"],
        ["--arm", "base-weighted", "--k", "1", "--motivated-batch", "joint"],
        ["--arm", "random", "--k", "1", "--motivated-batch", "joint"],
        ["--k", "0", "--since", "0.667"],
        *(["--k", "0", "--since", "0.667", "--motivated-batch", kind] for kind in ("joint", "average")),
        ["--arm", "random", "--share", "0.33", "--motivated-batch", "joint"],
    ],
    # The arms that came nearest to the goal, at about 0.8 of the motivated model's cost, with their controls.
    "candidates": [
        ["--arm", "base"],
        ["--arm", "motivated-alone"],
        ["--k", "1"],
        ["--k", "2"],
        LATE_JOINT,
        ["--arm", "base-weighted", *LATE_JOINT],
        ["--arm", "random", "--share", "0.67"],
    ],
}


def runs(groups: Sequence[str], seeds: Iterable[int], common: list[str]) -> Iterator[list[list[str]]]:
    """Lists of runs that can run at the same time. The runs that others depend on come first."""
    for seed in seeds:
        arms = [[*common, *arm, "--seed", str(seed)] for group in groups for arm in GROUPS[group]]
        follow = [arm for arm in arms if parse(arm).arm in ("random", "count-matched") and parse(arm).share is None]
        needed = [[*arm, "--arm", "motivation"] for arm in follow]
        yield [arm for arm in [*arms, *needed] if arm not in follow]
        yield follow


def main() -> None:
    """Runs the missing runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="file of JSON lines")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=["paper"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side; with several, one thread each")
    parser.add_argument("common", nargs="*", help="arguments of every run, after --")
    options = parser.parse_args()
    options.output.touch()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if options.jobs > 1 else {})}

    def run(arguments: list[str]) -> None:
        command = [sys.executable, str(SCRIPT), *arguments, "--record", str(options.output)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        with options.output.open("a") as file:
            file.write(done.stdout.strip().splitlines()[-1] + "\n")
        print(" ".join(arguments), flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for batch in runs(options.groups, seeds, options.common):
            done = [line["settings"] for line in read(options.output) if line["backend"] == keras.backend.backend()]
            missing = []
            for arguments in batch:
                wanted = settings(vars(parse(arguments)))
                if wanted not in done:
                    done.append(wanted)
                    missing.append(arguments)
            list(pool.map(run, missing))


if __name__ == "__main__":
    main()
