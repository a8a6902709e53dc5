"""One run of an image classification experiment: a pair trained with motivation, or an arm for comparison.

    KERAS_BACKEND=torch python examples/image_classification.py --data digits --pair resnet-8/14 --epochs 5 --k 2

It prints one line of JSON: all settings, versions, both models' test accuracies before and after batch norm is
recalibrated, the share of motivated batches, training FLOPs and wall time. `--output` appends the line to a file.
`image_sweep.py` runs many arms and seeds. `image_report.py` makes tables from the lines.
"""

import argparse
import base64
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from image_data import load
from image_measures import accuracy, cost, device, versions
from image_models import PAIRS
from image_settings import BATCHES, parse, read, settings

import keras_motivation as km


def condition(options: argparse.Namespace, steps: int) -> km.MotivationCondition:
    """The motivation condition of an arm, for a training of `steps` batches."""
    if options.arm == "random" and options.share is not None:
        return km.RandomActivation(options.share, seed=options.seed)
    if options.arm in ("random", "count-matched"):
        lines = read(pathlib.Path(options.record)) if options.record else []
        same = settings({**vars(options), "arm": "motivation"})
        recorded = next((line for line in lines if line["settings"] == same), None)
        if recorded is None:
            raise ValueError(f"Run --arm motivation with these settings first, and name its file. Received: {options}")
        packed = np.frombuffer(base64.b64decode(recorded["motivated_batches"]), "uint8")
        flags = np.unpackbits(packed, count=steps).reshape(options.epochs, -1)
        if options.arm == "random":
            return km.RandomActivation(float(flags.mean()), seed=options.seed)
        return km.Schedule.elsewhere(list(flags), seed=options.seed)
    decides = km.LossTrend() if options.trend else km.LossStreak(options.k) if options.k else km.Always()
    if (options.since, options.until) == (0.0, 1.0):
        return decides
    return km.Between(decides, start=round(options.since * steps), stop=round(options.until * steps))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Trains, evaluates, prints and returns the line."""
    options = parse(arguments)
    if options.pair not in PAIRS:
        raise ValueError(f"Argument `pair` must be one of {', '.join(PAIRS)}. Received: {options.pair}")
    x, y, x_test, y_test = load(options.data, options.examples, options.image_size)
    x, y = x[: len(x) // options.batch * options.batch], y[: len(x) // options.batch * options.batch]
    steps = len(x) // options.batch * options.epochs

    def build(which: int) -> keras.Model:
        keras.utils.set_random_seed(options.seed)  # the same start in every arm
        return PAIRS[options.pair][which](x.shape[1:], int(y.max()) + 1, flip=options.data != "digits")

    base, motivated = build(0), build(1)
    flops = [km.count_flops(base), km.count_flops(motivated)]
    alone = {"base": base, "motivated-alone": motivated}.get(options.arm)
    pair = alone or km.MotivatedModel(base, motivated, extension=options.extension, statistics=options.statistics)
    highest = options.rate or (0.1 if options.optimizer == "sgd" else 1e-3)
    warmup = round(options.warmup * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else highest, steps - warmup, warmup_target=highest if warmup else None, warmup_steps=warmup
    )
    optimizer = (
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
        if options.optimizer == "sgd"
        else keras.optimizers.AdamW(rate, weight_decay=0.05)
    )
    extra: dict[str, Any] = {}
    if not alone:
        weights = BATCHES[options.motivated_batch]
        weights = (sum(weights), 0.0) if options.arm == "base-weighted" else weights
        extra = {"motivation": condition(options, steps), "motivated_batch": weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pair.compile(optimizer, loss, metrics=["accuracy"], **extra)
    record = None if alone else km.MotivationHistory()
    keras.utils.set_random_seed(options.seed)  # the same order of the data
    start = time.perf_counter()
    pair.fit(x, y, batch_size=options.batch, epochs=options.epochs, verbose=0, callbacks=[record] if record else None)
    seconds = time.perf_counter() - start

    trained = {"base": alone if options.arm == "base" else None, "motivated": alone if options.arm != "base" else None}
    if not alone:
        trained = {"base": pair.base, "motivated": None if options.arm == "base-weighted" else pair.motivated}
    accuracies = {name: accuracy(model, x, x_test, y_test) for name, model in trained.items() if model}
    line = {
        "settings": settings(vars(options)),
        "accuracy": {name: found[0] for name, found in accuracies.items()},
        "accuracy_recalibrated": {name: found[1] for name, found in accuracies.items()},
        "share": 1.0 if options.arm == "motivated-alone" else float(record.motivated.mean()) if record else 0.0,
        "motivated_batches": base64.b64encode(np.packbits(record.motivated).tobytes()).decode() if record else None,
        "forward_flops": flops,
        "cost_to_motivated": cost(pair, flops, options.arm),
        "fit_seconds": round(seconds, 1),
        "backend": keras.backend.backend(),
        "device": device(),
        "versions": versions(),
    }
    print(json.dumps(line))
    if options.output:
        with open(options.output, "a") as file:
            file.write(json.dumps(line) + "\n")
    return line


if __name__ == "__main__":
    main()
