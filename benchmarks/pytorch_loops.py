"""Images per second of a pair's `fit` against what a user would write in PyTorch instead.

    KERAS_BACKEND=torch python benchmarks/pytorch_loops.py --output benchmarks/results/speed/pytorch_loops.jsonl
    KERAS_BACKEND=jax python benchmarks/pytorch_loops.py ...    # the pair under JAX, beside the same loops

The plain loop has two models, copies weights by a map of names at every switch, and reads the loss at every step. The
tuned one does the same with `torch.compile`, channels_last, a fused optimizer, data on the device and, with --amp,
bfloat16. Every sixth batch is motivated everywhere, which is the share of k=2.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable

import keras
import numpy as np
import torch
from overhead import Every
from reporting import report
from timing import rounds, spread
from torch import nn

import keras_motivation as km

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from image_models import PAIRS

HERE = [pair for pair in PAIRS if pair.startswith(("resnet", "efficientnet"))]  # those with a PyTorch equivalent
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, filters_in: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(filters_in, filters, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(filters_in, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Computes the block."""
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def resnet(depth: int, width: int = 16) -> nn.Module:
    """The ResNet of `image_models`, without augmentation."""
    stages = []
    for stage in range(3):
        for block in range((depth - 2) // 6):
            first = stage > 0 and block == 0
            filters = width * 2**stage
            stages.append((f"{stage}-{block}", Block(filters // 2 if first else filters, filters, 2 if first else 1)))
    parts = nn.ModuleDict(stages).items()
    stem = [("stem", nn.Conv2d(3, width, 3, 1, 1, bias=False)), ("norm", nn.BatchNorm2d(width)), ("relu", nn.ReLU())]
    head = [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("head", nn.Linear(4 * width, 10))]
    net = nn.Sequential()
    for name, part in [*stem, *parts, *head]:
        net.add_module(name, part)
    return net


def models(pair: str) -> list[nn.Module]:
    """Both models of a pair, of timm where it is one of timm's."""
    if pair.startswith("efficientnet"):
        import timm

        return [timm.create_model(f"efficientnet_{size}", num_classes=10) for size in pair.split("-")[1].split("/")]
    sizes = [part.split("-") for part in pair.removeprefix("resnet-").split("/")]
    wide = pair.endswith("-wide")
    return [resnet(int(size[0]), 24 if wide and i else 16) for i, size in enumerate(sizes)]


def copy(source: nn.Module, target: nn.Module) -> None:
    """Writes what both have, prefix by prefix, from one into the other, as the paper's procedure does."""
    theirs = target.state_dict()
    for name, value in source.state_dict().items():
        if name in theirs and value.dim():
            shared = tuple(slice(0, min(sizes)) for sizes in zip(value.shape, theirs[name].shape))
            theirs[name][shared].copy_(value[shared])


def loop(pair: str, x: np.ndarray, y: np.ndarray, batch: int, tuned: bool, amp: bool) -> Callable[[], object]:
    """One epoch of the hand-written procedure."""
    nets = [net.to(DEVICE) for net in models(pair)]
    inputs, labels = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)
    layout = torch.channels_last if tuned else torch.contiguous_format
    nets = [net.to(memory_format=layout) for net in nets]
    if tuned:
        inputs, labels = inputs.to(DEVICE, memory_format=layout), labels.to(DEVICE)
    optimizers = [torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, fused=tuned) for net in nets]
    steps = [torch.compile(net) if tuned else net for net in nets]
    loss_of = nn.CrossEntropyLoss()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch)
    slices = list(zip(inputs.split(batch), labels.split(batch)))

    def epoch() -> None:
        running = 0
        for step, (xs, ys) in enumerate(slices if tuned else data):
            motivated = int(step % 6 == 5)
            if motivated != running:
                with torch.no_grad():
                    copy(nets[running], nets[motivated])
                running = motivated
            xs, ys = xs.to(DEVICE), ys.to(DEVICE)
            optimizers[motivated].zero_grad()
            with torch.autocast(DEVICE, torch.bfloat16, enabled=amp):
                loss = loss_of(steps[motivated](xs), ys)
            loss.backward()
            optimizers[motivated].step()
            loss.item()  # by which the paper's condition would decide
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    for net in nets:
        net.train()
    return epoch


def fit(pair: str, x: np.ndarray, y: np.ndarray, batch: int) -> Callable[[], object]:
    """One epoch of the pair."""
    model = km.MotivatedModel(*(make(x.shape[1:], 10, flip=None) for make in PAIRS[pair]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, motivation=Every(6))
    return lambda: model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)


def main() -> None:
    """Measures pair by pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pairs", nargs="+", choices=HERE, default=["resnet-8/14", "resnet-8/8-wide"])
    add("--side", type=int, default=32, help="of the images")
    add("--batch", type=int, default=32)
    add("--steps", type=int, default=24, help="batches an epoch")
    add("--rounds", type=int, default=9)
    add("--amp", action="store_true", help="bfloat16 in the tuned loop and in the pair")
    add("--output", type=pathlib.Path, help="file to append the lines to")
    options = parser.parse_args()
    keras.config.set_dtype_policy("mixed_bfloat16" if options.amp else "float32")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.batch * options.steps, options.side, options.side, 3)).astype("float32")
    y = rng.integers(0, 10, len(x))
    for pair in options.pairs:
        subjects = {
            "plain loop": loop(pair, x, y, options.batch, tuned=False, amp=False),
            "tuned loop": loop(pair, x, y, options.batch, tuned=True, amp=options.amp),
            "pair": fit(pair, x, y, options.batch),
        }
        seconds = rounds(subjects, options.rounds)
        settings = {name: getattr(options, name) for name in ("side", "batch", "steps", "rounds", "amp")}
        figures = {
            "images_a_second": {
                name: round(len(x) / float(np.median([r[name] for r in seconds]))) for name in subjects
            },
            **{
                f"of_{name.split()[0]}_loop": spread([r[name] / r["pair"] for r in seconds])
                for name in ("plain loop", "tuned loop")
            },
        }
        report({"pair": pair, **settings}, figures, options.output)
        print(pair, figures, flush=True)


if __name__ == "__main__":
    main()
