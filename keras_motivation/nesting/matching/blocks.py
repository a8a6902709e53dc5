"""Which block of a stage is which, where names alone say it wrongly or not at all."""

import re
from collections import defaultdict
from typing import Any

from keras_motivation import _keras

# "v2_stack_1_block2_1_conv" is layer "_1_conv" of block 2 in the stage "v2_stack_1_block".
BLOCK = re.compile(r"(.*block_?)(\d+)(_.*)")


def plain_name(name: str, root: str) -> str:
    """A layer's name without that of the model it is in, which ConvNeXt repeats in each."""
    return name.removeprefix(f"{root}_")


def moved_last_blocks(base: Any, motivated: Any, roots: tuple[str, str]) -> dict[str, str]:
    """Names in the base to names in the motivated model, for stages whose *last* block carries the stride.

    Pre-activation ResNets reduce the resolution at a stage's end: with 2 blocks in 3, block 2 of the base is block 3.

    Args:
        base: A model or composite layer of the base.
        motivated: Its partner.
        roots: Names of the two whole models.

    Returns:
        For each layer of such a block that name.
    """
    moved = {}
    stages, partners = _strided_blocks(base, roots[0]), _strided_blocks(motivated, roots[1])
    for stage, strided in stages.items():
        last, other = max(strided), max(partners.get(stage, {0: False}))
        if last < other and strided[last] and partners[stage][other] and not partners[stage].get(last):
            moved[f"{stage}{last}"] = f"{stage}{other}"
    names = [plain_name(layer.name, roots[0]) for layer in _keras.direct_sublayers(base)]
    found = [(name, BLOCK.fullmatch(name)) for name in names]
    return {n: moved[m[1] + m[2]] + m[3] for n, m in found if m is not None and m[1] + m[2] in moved}


def _strided_blocks(layer: Any, root: str) -> dict[str, dict[int, bool]]:
    """For each stage its block numbers, and whether a layer of the block has a stride."""
    stages: dict[str, dict[int, bool]] = defaultdict(lambda: defaultdict(bool))
    for sublayer in _keras.direct_sublayers(layer):
        found = BLOCK.fullmatch(plain_name(sublayer.name, root))
        if found is not None:
            strides = getattr(sublayer, "strides", 1)
            stages[found[1]][int(found[2])] |= any(
                s > 1 for s in (strides if isinstance(strides, tuple) else [strides])
            )
    return stages
