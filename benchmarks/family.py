"""What `fit` of a family costs at each level beside `fit` of the stock model of that size, in one process, in turn.

    KERAS_BACKEND=torch python benchmarks/family.py --output benchmarks/results/speed/family.jsonl

Families of four ResNets: one more block a stage from size to size, or 8 more channels. Each ratio is to the
stock model: a batch of a size should cost what that stock model costs.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable

import keras
import numpy as np
from reporting import report
from timing import rounds, spread

import keras_motivation as km

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from image_models import resnet

# Depth and width of each size.
FAMILIES = {"depth": [(8, 16), (14, 16), (20, 16), (26, 16)], "width": [(8, 16), (8, 24), (8, 32), (8, 40)]}


def fits(family: str, side: int, batch: int, steps: int) -> dict[str, Callable[[], object]]:
    """One epoch of each stock model, and of the family at each level alone."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (batch * steps, side, side, 3)).astype("float32")
    y = rng.integers(0, 10, batch * steps)

    def fit(model: keras.Model, **kwargs: km.MotivationCondition) -> Callable[[], object]:
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], **kwargs)
        return lambda: model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)

    def build() -> list[keras.Model]:
        return [resnet(depth, width)(x.shape[1:], 10, flip=True) for depth, width in FAMILIES[family]]

    found = {f"stock {size}": fit(model) for size, model in enumerate(build())}
    for level in range(len(FAMILIES[family])):
        base, *larger = build()
        found[f"level {level}"] = fit(km.MotivatedModel(base, larger), motivation=km.Phases((None, level)))
    return found


def main() -> None:
    """Measures family by family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    add("--side", type=int, default=32, help="of the images")
    add("--batch", type=int, default=32)
    add("--steps", type=int, default=12, help="batches an epoch")
    add("--rounds", type=int, default=7)
    add("--output", type=pathlib.Path, help="file to append the lines to")
    options = parser.parse_args()
    for family in options.families:
        settings = {"family": family, **{name: getattr(options, name) for name in ("side", "batch", "steps", "rounds")}}
        seconds = rounds(fits(family, options.side, options.batch, options.steps), options.rounds)
        ratios = {
            f"level {i}": spread([r[f"level {i}"] / r[f"stock {i}"] for r in seconds])
            for i in range(len(FAMILIES[family]))
        }
        report(settings, {"ratio": ratios}, options.output)
        print(family, *(f"{r['median']:.3f} ({r['low']:.3f}-{r['high']:.3f})" for r in ratios.values()), flush=True)


if __name__ == "__main__":
    main()
