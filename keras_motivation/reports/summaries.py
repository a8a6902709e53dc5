"""What `MotivatedModel.summary` prints: the models, and each step of growth stage by stage, within 80 columns."""

import inspect
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_motivation.conditions import MotivationCondition
from keras_motivation.interface import Pair
from keras_motivation.nesting.map_summary import shortened
from keras_motivation.nesting.matching.blocks import plain_name
from keras_motivation.nesting.matching.names import layers_with_weights

# "conv4_block6_2_conv" is in block 6 of stage "conv4", "block2b_expand_conv" in block b of "block2".
BLOCK = re.compile(r"(?P<stage>.*?)_?block_?(?P<number>\d+)(?P<letter>[a-z]?)(_.*)?")
NUMBERED = re.compile(r"(?P<stage>.*?\D)_?(?P<number>\d+)(_.*)?")
MOST_ROWS = 40


@dataclass
class Stage:
    """Repeated layers: for each model the number of blocks, the width at the end, and the number of parameters."""

    blocks: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    width: tuple[int, int] = (0, 0)
    parameters: tuple[int, int] = (0, 0)


def pair_lines(model: Pair) -> list[str]:
    """The summary of a `MotivatedModel`, line by line.

    Args:
        model: The `MotivatedModel`.

    Returns:
        Lines of at most 80 characters.
    """
    maps = model.weights_maps
    models = [maps[0].base, *(weights_map.motivated for weights_map in maps)]
    roles = ["base", *("motivated" if len(maps) == 1 else f"motivated {i}" for i in range(1, len(models)))]
    counts = [nested.count_params() for nested in models]
    head = [
        f'Model: "{shortened(model.name, 60)}" ({type(model).__name__})',
        *(
            f"  {role:<11} {shortened(nested.name, 30):<30} {count:>14,} parameters"
            for role, nested, count in zip(roles, models, counts)
        ),
        f"  extension   {model.extension} at the start",
        f"  statistics  {model.statistics}",
        f"  motivation  {'not compiled' if model.motivation is None else _described(model.motivation)}",
    ]
    found = head
    for weights_map, inner, outer in zip(maps, roles, roles[1:]):
        found += ["", *_growth_lines(weights_map, inner, outer)]
    return [line[:80] for line in found]


def _growth_lines(weights_map: Any, inner: str, outer: str) -> list[str]:
    """How a model extends the next smaller one."""
    verdict = weights_map.verdict
    share = f"the {inner} covers {100 * weights_map.covered_share:.1f} %"
    rows = [_row(name, stage) for name, stage in stages(weights_map).items()]
    more = [f"  ... and {len(rows) - MOST_ROWS} more; the `summary()` of the weights map lists every layer"]
    return [
        f"  weights     {share} of the {outer}{' model' if outer == 'motivated' else ''}'s parameters",
        f"  nesting     {'not probed' if verdict is None else verdict.nesting}",
        f"  {'stage':<24} {'blocks':<9} {'width':<15} parameters",
        *rows[:MOST_ROWS],
        *(more if len(rows) > MOST_ROWS else []),
    ]


def stages(weights_map: Any) -> dict[str, Stage]:
    """The layers of the motivated model, grouped into stages by their names, in order."""
    found: dict[str, Stage] = {}
    for layer, own in layers_with_weights(weights_map.motivated):
        root = weights_map.motivated.name
        path = [plain_name(part, root) for part in own[0].path.split("/")[:-1] if part != root]
        name, block = _place(path or [layer.name])
        stage = found.setdefault(name, Stage())
        partners = [partner[0] for v in own if (partner := weights_map.partner(v)) is not None]
        widest = [max(group, key=lambda v: len(v.shape)) if group else None for group in (partners, own)]
        for blocks, variable in zip(stage.blocks, widest):
            if variable is not None:
                blocks.add(block)
        stage.width = tuple(  # type: ignore[assignment]
            width if variable is None or not variable.shape else int(variable.shape[-1])
            for width, variable in zip(stage.width, widest)
        )
        stage.parameters = tuple(  # type: ignore[assignment]
            count + sum(int(np.prod(v.shape)) for v in group) for count, group in zip(stage.parameters, (partners, own))
        )
    return found


def _place(path: list[str]) -> tuple[str, str]:
    """Stage and block of a layer, from the names in its path."""
    for depth, name in enumerate(path):
        above = "".join(f"{part}/" for part in path[:depth])
        if (match := BLOCK.fullmatch(name)) is not None:
            stage = match["stage"] if not match["letter"] else f"{match['stage']}block{match['number']}"
            return above + (stage or "block"), match["letter"] or match["number"]
        if (match := NUMBERED.fullmatch(name)) is not None:
            return above + match["stage"].rstrip("_"), match["number"]
    return path[0], ""


def _row(name: str, stage: Stage) -> str:
    blocks = (len(stage.blocks[0]), len(stage.blocks[1]))
    return (
        f"  {shortened(name, 24):<24} {_growth(*blocks):<9} {_growth(*stage.width):<15} {_growth(*stage.parameters)}"
    ).rstrip()


def _described(motivation: Any) -> str:
    """The condition as a user would write it, without arguments that all layers have or that are switched off."""
    defaults = {name: p.default for name, p in inspect.signature(type(motivation).__init__).parameters.items()}
    arguments = []
    for key, value in motivation.get_config().items():
        off = key in defaults and not defaults[key] and value == defaults[key]
        if off or key in ("name", "trainable", "dtype"):
            continue
        inner = getattr(motivation, key, None)
        value = _described(inner) if isinstance(inner, MotivationCondition) else value
        arguments.append(f"{key}={value}")
    text = f"{type(motivation).__name__}({', '.join(arguments)})"
    return text if len(text) <= 64 else f"{text[:60]}...)"


def _growth(inner: int, outer: int) -> str:
    return f"{outer:,}" if inner == outer else f"{inner:,} -> {outer:,}" if inner else f"new: {outer:,}"
