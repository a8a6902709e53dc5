"""What `fit` of a pair costs beside `fit` of the two stock models: as many batches, in one process, in turn.

    KERAS_BACKEND=jax python benchmarks/overhead.py --pairs resnet-8/14 --output benchmarks/results/speed/overhead.jsonl

Each ratio is to the ideal: a base batch costs what the stock base costs, a motivated batch what the stock motivated
model costs. One line of JSON a pair; a table at the end.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from reporting import report
from timing import rounds, spread

import keras_motivation as km

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from image_models import PAIRS

# Image side, batch and batches an epoch (enough that what `fit` does once weighs little); a GPU takes real ones from
# the command line.
SIZES = {"resnet": (32, 32, 12), "efficientnet": (32, 8, 12), "vit": (32, 8, 40), "dense": (8, 32, 320)}

JIT = {"auto": "auto", "on": True, "off": False}  # Keras's argument `jit_compile`


@keras.saving.register_keras_serializable("benchmarks")
class Every(km.MotivationCondition):
    """Each n-th batch is motivated, whatever the loss does, however long it goes on."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n
        self.batches = self.add_state("batches", 0, dtype="int32")

    def update(self, loss: Any) -> Any:
        batches = (self.batches.value + 1) % self.n
        self.batches.assign(batches)
        return batches == self.n - 1

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


# Condition and share of motivated batches: k=2 motivates one batch in six, and alternating switches at every batch.
CONDITIONS: dict[str, tuple[Callable[[], km.MotivationCondition], float]] = {
    "never": (km.Never, 0.0),
    "always": (km.Always, 1.0),
    "one in six": (lambda: Every(6), 1 / 6),
    "alternating": (lambda: Every(2), 1 / 2),
}


def fits(pair: str, side: int, batch: int, steps: int, options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """One epoch of each subject: both stock models, and the pair under each condition."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (batch * steps, side, side, 3)).astype("float32")
    y = rng.integers(0, 10, batch * steps)

    def fit(model: keras.Model, **kwargs: Any) -> Callable[[], object]:
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        kwargs |= {"steps_per_execution": options.steps_per_execution, "jit_compile": JIT[options.jit]}
        model.compile(optimizer, loss, metrics=["accuracy"], **kwargs)
        return lambda: model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)

    def build() -> list[keras.Model]:
        return [make(x.shape[1:], 10, flip=True) for make in PAIRS[pair]]

    stock = dict(zip(("base", "motivated"), map(fit, build())))
    return stock | {
        name: fit(km.MotivatedModel(*build()), motivation=condition(), dispatch=options.dispatch)
        for name, (condition, _) in CONDITIONS.items()
    }


def main() -> None:
    """Measures pair by pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pairs", nargs="+", choices=PAIRS, default=["resnet-8/14", "resnet-8/8-wide", "vit-tiny/small"])
    add("--side", type=int, help="of the images")
    add("--batch", type=int)
    add("--steps", type=int, help="batches an epoch")
    add("--rounds", type=int, default=9)
    add("--steps-per-execution", type=int, default=1)
    add("--dispatch", default="auto", help="as in `compile`")
    add("--jit", choices=JIT, default="auto", help="XLA or torch.compile; as Keras decides by itself")
    add("--dtype", default="float32", help="a Keras policy, such as mixed_bfloat16")
    add("--output", type=pathlib.Path, help="file to append the lines to")
    options = parser.parse_args()
    keras.config.set_dtype_policy(options.dtype)
    same = {name: getattr(options, name) for name in ("rounds", "steps_per_execution", "dispatch", "jit", "dtype")}
    rows = []
    for pair in options.pairs:
        sizes = [
            given or usual
            for given, usual in zip((options.side, options.batch, options.steps), SIZES[pair.split("-")[0]])
        ]
        seconds = rounds(fits(pair, *sizes, options), options.rounds)
        ratios = {
            name: spread([r[name] / ((1 - share) * r["base"] + share * r["motivated"]) for r in seconds])
            for name, (_, share) in CONDITIONS.items()
        }
        milliseconds = {
            name: round(1000 * float(np.median([r[name] for r in seconds])) / sizes[2], 2)
            for name in ("base", "motivated")
        }
        # What the pair costs, with k=2's share of motivated batches, of what both models cost that are trained apart.
        separately = spread([r["one in six"] / (r["base"] + r["motivated"]) for r in seconds])
        settings = {"pair": pair, **dict(zip(("side", "batch", "steps"), sizes)), **same}
        figures = {"milliseconds_a_batch": milliseconds, "ratio": ratios, "of_both_separately": separately}
        report(settings, figures, options.output)
        rows.append([pair, *(f"{r['median']:.3f} ({r['low']:.3f}-{r['high']:.3f})" for r in ratios.values())])
        print(" | ".join(rows[-1]), flush=True)
    print("\n" + " | ".join(["pair, ratio to the ideal", *CONDITIONS]))
    print("\n".join(" | ".join(row) for row in rows))


if __name__ == "__main__":
    main()
