"""What `WeightsMap.summary` prints: the weights map, layer by layer, within 80 columns."""

from typing import Any

import numpy as np

from keras_motivation.nesting.matching.names import layers_with_weights


def map_lines(weights_map: Any) -> list[str]:
    """The summary of a `WeightsMap`, line by line.

    Args:
        weights_map: The `WeightsMap`.

    Returns:
        Totals, and a line for each layer that is new or wider.
    """
    layers = list(layers_with_weights(weights_map.motivated))
    kinds = [_kind(weights_map, own) for _, own in layers]
    whole, wider, new = (kinds.count(kind) for kind in ("whole", "wider", "new"))
    outer = weights_map.motivated
    lines = [
        f"Weights map: {weights_map.base.name} in {outer.name}",
        f"  {whole + wider} of {len(layers)} layers matched: {whole} whole, {wider} extended in width; "
        f"{new} new (depth)",
        f"  {len(weights_map.entries)} of {len(outer.weights)} weights matched; the base covers "
        f"{100 * weights_map.covered_share:.1f} % of {sum(int(np.prod(v.shape)) for v in outer.weights):,} parameters",
    ]
    rows = [(layer.path, *_shapes(weights_map, own)) for (layer, own), kind in zip(layers, kinds) if kind != "whole"]
    if rows:
        width = min(40, max(len(row[0]) for row in rows))
        lines.append(f"  {'extended layer':<{width}}  {'base':<18} motivated")
        lines += [f"  {shortened(path, width):<{width}}  {inner:<18} {outer}" for path, inner, outer in rows]
    return lines


def _kind(weights_map: Any, own: list[Any]) -> str:
    found = [weights_map.partner(v) for v in own]
    if not any(found):
        return "new"
    return "whole" if all(partner and partner[1].whole for partner in found) else "wider"


def _shapes(weights_map: Any, own: list[Any]) -> tuple[str, str]:
    largest = max(own, key=lambda v: int(np.prod(v.shape)))
    found = weights_map.partner(largest)
    return ("-" if found is None else str(tuple(found[0].shape))), str(tuple(largest.shape))


def shortened(name: str, width: int) -> str:
    """A name that fits into a column. Of a longer name, the end is kept, because it says more."""
    return name if len(name) <= width else "..." + name[3 - width :]
