"""How long a CUDA device stands still between the kernels of `fit` under PyTorch: a pair's beside the stock models'.

    KERAS_BACKEND=torch python benchmarks/gaps.py --pair resnet-20/32 --batch 128

A decision for which the host waited would show as a gap in each batch that the stock model does not have. (Keras's own
metrics and optimizers wait a few times a batch, in the stock model too.)
"""

import argparse
import pathlib
from collections.abc import Iterable

import keras
import torch
from overhead import PAIRS, fits
from reporting import report
from timing import spread


def idle(kernels: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first kernel's start to the last one's end in which none ran.

    Args:
        kernels: Start and end of each, in any order and any unit; they may overlap.
    """
    ordered = sorted(kernels)
    busy, until = 0.0, ordered[0][0]
    for start, end in ordered:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return 1 - busy / (until - ordered[0][0])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pair", choices=PAIRS, default="resnet-20/32")
    add("--side", type=int, default=32, help="of the images")
    add("--batch", type=int, default=128)
    add("--steps", type=int, default=100, help="batches an epoch, of which what `fit` does once is a part")
    add("--rounds", type=int, default=3)
    add("--dtype", default="float32", help="a Keras policy, such as mixed_bfloat16")
    add("--output", type=pathlib.Path, help="file to append the line to")
    options = parser.parse_args()
    if keras.backend.backend() != "torch" or not torch.cuda.is_available():
        raise SystemExit("This measures a CUDA device under PyTorch, by its profiler.")
    keras.config.set_dtype_policy(options.dtype)
    options.steps_per_execution, options.dispatch, options.jit = 1, "auto", "auto"
    shares: dict[str, list[float]] = {}
    for name, epoch in fits(options.pair, options.side, options.batch, options.steps, options).items():
        epoch()  # what happens once
        for _ in range(options.rounds):
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                epoch()
                torch.cuda.synchronize()
            events = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
            events = [e for e in events if not e.name.startswith(("Memcpy", "Memset")) and not e.is_user_annotation]
            if not events:
                raise SystemExit("The profiler saw no kernel: may this process use the device's counters?")
            shares.setdefault(name, []).append(idle((e.time_range.start, e.time_range.end) for e in events))
    settings = {name: getattr(options, name) for name in ("pair", "side", "batch", "steps", "rounds", "dtype")}
    figures = {name: spread(found) for name, found in shares.items()}
    report(settings, {"idle_share": figures}, options.output)
    print("\n".join(f"{name}: idle {value['median']:.3f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
