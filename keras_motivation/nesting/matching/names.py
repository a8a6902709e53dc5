"""Which weight of the base is which weight of the motivated model, by name.

Walks both models side by side, layer tree against layer tree. A name that a user (or a model zoo) chose must agree. A
name that Keras numbered itself (`conv2d_5`) says nothing across two models; see `numbered`. A number in a chosen name
may be a width (`linear_8`): what finds no partner of its name is paired by the rest of it, in order, where both models
have equally many. The root's name is never looked at.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import keras

from keras_motivation import _keras
from keras_motivation.nesting.matching.blocks import moved_last_blocks, plain_name
from keras_motivation.nesting.matching.numbered import pair_numbered
from keras_motivation.nesting.matching.renames import Rename, Renames

Pairs = list[tuple[Any, Any]]


def match_variables(base: keras.Model, motivated: keras.Model, rename: Rename = None) -> tuple[Pairs, Pairs, list[str]]:
    """Pairs the variables of two built models.

    Random seeds and the constants of `Normalization` layers stay out: each model keeps its own.

    Args:
        base: The smaller model.
        motivated: The larger model.
        rename: The name of a motivated layer for that of its partner in the base, where the two differ; a function or
            a dictionary.

    Returns:
        The pairs `(base variable, motivated variable)` in the order of `base.variables`; the pairs of layers that were
        looked at, composite ones too; and a list of problems: one sentence for each base weight or group of layers
        without a partner.
    """
    found: dict[int, Any] = {}
    layers: Pairs = []
    problems: list[str] = []
    renames = Renames(rename, base, motivated)
    _match_layers(base, motivated, (base.name, motivated.name), renames, found, layers, problems)
    if not problems:  # a layer that was not reached has another problem
        renames.check_used()
    return [(v, found[id(v)]) for v in base.variables if id(v) in found], layers, problems


def own_variables(layer: Any) -> list[Any]:
    """The weights that `layer` holds itself, without those of its sublayers, random seeds and data constants."""
    if _keras.is_normalization(layer):
        return []
    deeper = {id(v) for sublayer in _keras.direct_sublayers(layer) for v in sublayer.variables}
    return [v for v in layer.variables if id(v) not in deeper and not _keras.is_seed(v)]


def layers_with_weights(layer: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Each layer inside `layer` that holds weights itself, and these."""
    if own := own_variables(layer):
        yield layer, own
    for sublayer in _keras.direct_sublayers(layer):
        yield from layers_with_weights(sublayer)


def _match_layers(
    base: Any,
    motivated: Any,
    roots: tuple[str, str],
    renames: Renames,
    found: dict[int, Any],
    layers: Pairs,
    problems: list[str],
) -> None:
    layers.append((base, motivated))
    _match_own(base, motivated, found, problems)
    for base_layer, motivated_layer in _pair_sublayers(base, motivated, roots, renames, problems):
        _match_layers(base_layer, motivated_layer, roots, renames, found, layers, problems)


def _match_own(base: Any, motivated: Any, found: dict[int, Any], problems: list[str]) -> None:
    base_own, motivated_own = own_variables(base), own_variables(motivated)
    if base_own and not isinstance(base, keras.Model) and type(base) is not type(motivated):
        problems.append(
            f"layer '{base.path}' is a {type(base).__name__} in the base and a {type(motivated).__name__} in the "
            "motivated model"
        )
        return
    partners = dict(zip(_ranked_names(motivated_own), motivated_own))
    for name, variable in zip(_ranked_names(base_own), base_own):
        if name in partners:
            found.setdefault(id(variable), partners[name])
        else:
            problems.append(f"'{variable.path}' {tuple(variable.shape)} has no partner in layer '{motivated.path}'")


def _ranked_names(variables: list[Any]) -> list[str]:
    """Names within one layer; those that Keras numbered (`variable_17`) or that repeat are told apart by their rank."""
    seen: dict[str, int] = defaultdict(int)
    names = []
    for variable in variables:
        name = re.sub(r"^variable_\d+$", "variable", variable.name)
        names.append(f"{name}#{seen[name]}")
        seen[name] += 1
    return names


def _pair_sublayers(base: Any, motivated: Any, roots: tuple[str, str], renames: Renames, problems: list[str]) -> Pairs:
    pairs = renames.pairs(*(list(filter(_has_weights, _keras.direct_sublayers(side))) for side in (base, motivated)))
    done = [{id(pair[side]) for pair in pairs} for side in (0, 1)]
    base_named, base_numbered = _sort_sublayers(base, roots[0], done[0])
    motivated_named, motivated_numbered = _sort_sublayers(motivated, roots[1], done[1])
    moved = moved_last_blocks(base, motivated, roots)
    base_named = {moved.get(name, name): layers for name, layers in base_named.items()}
    for name, layers in base_named.items():
        partners = motivated_named.get(name, [])
        if len(layers) == len(partners):
            pairs += zip(layers, partners)
        elif partners:
            problems.append(f"{len(layers)} layers share the name '{name}' against {len(partners)}")
    # A backbone nested as a layer is called after its size, such as "efficientnetb0" against "efficientnetb1".
    missing = [layer for name, layers in base_named.items() if name not in motivated_named for layer in layers]
    spare = [layer for name, layers in motivated_named.items() if name not in base_named for layer in layers]
    base_models = [layer for layer in missing if isinstance(layer, keras.Model)]
    motivated_models = [layer for layer in spare if isinstance(layer, keras.Model)]
    if len(base_models) == len(motivated_models) == 1:
        pairs += zip(base_models, motivated_models)
        missing.remove(base_models[0])
        spare.remove(motivated_models[0])
    by_stem = _by_stem(missing, roots[0]), _by_stem(spare, roots[1])
    for stem, layers in by_stem[0].items():
        partners = by_stem[1].get(stem, [])
        if len(layers) == len(partners):  # the number may be a width, or go on from model to model
            pairs += zip(layers, partners)
            missing = [layer for layer in missing if not any(layer is found for found in layers)]
    problems += [
        f"layer '{layer.path}' with {len(layer.variables)} weights has no partner of that name" for layer in missing
    ]
    numbered, open_ones = pair_numbered(base, motivated, base_numbered, motivated_numbered, None if missing else pairs)
    problems += open_ones
    return pairs + numbered


def _by_stem(layers: list[Any], root: str) -> dict[Any, list[Any]]:
    """Layers whose names have a number, in order, by their class and the rest of the name."""
    found: dict[Any, list[Any]] = defaultdict(list)
    for layer in layers:
        stem, numbers = re.subn(r"\d+", "", plain_name(layer.name, root))
        if numbers:
            found[type(layer), stem].append(layer)
    return found


def _sort_sublayers(layer: Any, root: str, done: set[int]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The sublayers with weights: those with chosen names by name, those that Keras numbered by kind, in order."""
    named: dict[str, list[Any]] = defaultdict(list)
    numbered: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for sublayer in _keras.direct_sublayers(layer):
        if id(sublayer) in done or not _has_weights(sublayer):
            continue
        automatic = _keras.auto_name(sublayer)
        if automatic is None:
            named[plain_name(sublayer.name, root)].append(sublayer)
        else:
            numbered[automatic[0]].append((automatic[1], sublayer))
    in_order = {kind: [found for _, found in sorted(group, key=lambda g: g[0])] for kind, group in numbered.items()}
    return dict(named), in_order


def _has_weights(layer: Any) -> bool:
    return bool(own_variables(layer)) or any(_has_weights(sublayer) for sublayer in _keras.direct_sublayers(layer))
