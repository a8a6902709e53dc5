"""Which layer is which by the graphs of both models, where names say nothing; or why that is open."""

from typing import Any

from keras_motivation.nesting.matching.structure.alignment import Alignment, Pairs, fits
from keras_motivation.nesting.matching.structure.call_graph import Call, CallGraph
from keras_motivation.nesting.matching.structure.left_out import BlocksToLeaveOut


def pairs_by_structure(base: Any, motivated: Any, known: Pairs) -> tuple[Pairs, list[str]]:
    """Pairs the layers with weights of two functional graphs.

    Args:
        base: The base's graph, as `_keras.graph` returns it.
        motivated: The motivated model's.
        known: Pairs of layers that are settled. Layers with chosen names are paired with these alone.

    Returns:
        The pairs of layers with weights, known ones included, in the order of the base's graph; and a list of problems:
        why there is no alignment, or which layers it leaves open. One of the two is empty.
    """
    ours, theirs = CallGraph(base), CallGraph(motivated)
    if len(ours.inputs) != len(theirs.inputs) or len(ours.outputs) != len(theirs.outputs):
        return [], ["the two graphs differ in the number of their inputs or outputs"]
    blocks = BlocksToLeaveOut(theirs)
    alignment = Alignment(ours, theirs, blocks, known, same_sizes=True)  # tells more blocks apart, if only depth grows
    if not alignment.exists:
        alignment = Alignment(ours, theirs, blocks, known, same_sizes=False)
    if not alignment.exists:
        return [], [_dead_end(alignment)]
    pairs = alignment.layers()
    others = {id(layer): partner for layer, partner in alignment.layers(last=True)}
    if differ := [(layer, partner, others[id(layer)]) for layer, partner in pairs if others[id(layer)] is not partner]:
        return [], [_candidates(differ)]
    if any(len({id(pair[side]) for pair in pairs}) < len(pairs) for side in (0, 1)):
        return [], [
            "by the two graphs, a layer that is called several times would be several layers of the other model"
        ]
    return pairs, []


def _dead_end(alignment: Alignment) -> str:
    """Where the alignment that leads furthest up from the outputs ends."""
    inner, outer = min(tensors for tensors, matches in alignment.matches.items() if not matches)
    calls = alignment.base.maker(inner), alignment.motivated.maker(outer)
    shapes = alignment.base.shapes[inner], alignment.motivated.shapes[outer]
    ours, theirs = (f"'{call.operation.name}'" if call is not None else "the input" for call in calls)
    what = [
        _differs(*calls, side) if fits(*shapes) else f"makes the shape {shape[1:]}" for side, shape in enumerate(shapes)
    ]
    return (
        f"the two graphs agree from the outputs up to {ours} of the base ({what[0]}) and {theirs} of the motivated "
        f"model ({what[1]}), but these differ, and no whole block ends there that could be left out"
    )


def _differs(ours: Call | None, theirs: Call | None, side: int) -> str:
    """What one of two calls has that the other has not."""
    call, other = (ours, theirs) if side == 0 else (theirs, ours)
    if call is None:
        return "no layer"
    if other is None or call.kind != other.kind:
        return type(call.operation).__name__
    if call.settings == other.settings:
        return f"{type(call.operation).__name__} with weights of shapes {', '.join(map(str, call.weights))}"
    return ", ".join(f"{name}={value}" for name, value in call.settings if (name, value) not in other.settings)


def _candidates(differ: list[tuple[Any, Any, Any]]) -> str:
    """Layers of the base that two alignments pair with different ones."""
    named = [f"'{layer.name}' may be '{one.name}' or '{other.name}'" for layer, one, other in differ[:3]]
    more = f", and so for {len(differ) - 3} more" if len(differ) > 3 else ""
    return (
        f"by the two graphs, several layers of the motivated model can be a layer of the base: {', '.join(named)}{more}"
    )
