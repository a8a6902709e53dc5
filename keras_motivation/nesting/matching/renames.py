"""Which layer is which where the user says so: `rename`, a function or a dictionary of names."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from keras_motivation import _keras
from keras_motivation.nesting.matching.blocks import plain_name
from keras_motivation.nesting.matching.layer_names import Names, similar

Pairs = list[tuple[Any, Any]]
Rename = Callable[[str], str] | Mapping[str, str] | None


class Renames:
    """Pairs the layers of which the user says which one is which.

    A dictionary names single layers, so each of its names must be one. A function is asked about all layers, and what
    it returns unchanged is matched as usual.

    Args:
        rename: As in `WeightsMap.infer`.
        base: The smaller model.
        motivated: The larger model.

    Raises:
        TypeError: If `rename` is neither a function nor a dictionary of strings.
        ValueError: If a key of the dictionary is not the name of a layer of the base.
    """

    def __init__(self, rename: Rename, base: Any, motivated: Any) -> None:
        self._rename = rename
        self._ours, self._theirs = Names(base), Names(motivated)
        self._unused: set[str] = set()
        if isinstance(rename, Mapping):
            self._check_mapping(rename)
        elif rename is not None and not callable(rename):
            raise TypeError(
                "Argument `rename` must be a function, or a dictionary of names of the base's layers to names of the "
                f"motivated model's. Received: {rename!r}"
            )

    def pairs(self, ours: list[Any], theirs: list[Any]) -> Pairs:
        """Pairs sublayers of two corresponding layers or models.

        Args:
            ours: The base's sublayers with weights.
            theirs: The motivated model's.

        Returns:
            The pairs of which the user says so.

        Raises:
            ValueError: If a name is not one of `theirs`, or if a partner would belong to two layers of the base.
            TypeError: If the function returns something else than a name.
        """
        pairs: Pairs = []
        for layer in ours:
            if (wanted := self._wanted(layer)) is not None:
                pairs.append((layer, self._partner(layer, wanted, theirs)))
        self._check_one_to_one(pairs, ours)
        return pairs

    def check_used(self) -> None:
        """Raises a `ValueError` if the dictionary names layers of the base that have no weights."""
        if self._unused:
            self._refuse("must name layers that have weights", f"{sorted(self._unused)}, which have none in the base")

    def _check_mapping(self, rename: Mapping[str, str]) -> None:
        if wrong := [pair for pair in rename.items() if not all(isinstance(name, str) for name in pair)]:
            raise TypeError(
                "Argument `rename` must have names of the base's layers as keys, and names of the motivated model's as "
                f"values. Received: {dict(wrong)}"
            )
        self._unused = set(rename)
        for key in rename:
            if not self._ours.has(key):
                what = f"{key!r}, which is no layer of '{self._ours.root}'{similar(key, self._ours.all())}"
                self._refuse("must have names of the base's layers as keys", what)

    def _wanted(self, layer: Any) -> str | None:
        """What the user calls the partner of a layer of the base; `None` if nothing is said of it."""
        if isinstance(self._rename, Mapping):
            keys = [key for key in self._rename if self._ours.is_called(layer, key)]
            self._unused -= set(keys)
            return self._rename[max(keys, key=lambda key: key.count("/"))] if keys else None  # the longest path decides
        if self._rename is None:
            return None
        name = plain_name(layer.name, self._ours.root)
        wanted = self._rename(name)
        if not isinstance(wanted, str):
            raise TypeError(
                "Argument `rename` must be a function that returns a layer's name for a layer's name. "
                f"Received: {wanted!r} for {name!r}"
            )
        return None if wanted == name else wanted

    def _partner(self, layer: Any, wanted: str, theirs: list[Any]) -> Any:
        found = [partner for partner in theirs if self._theirs.is_called(partner, wanted)]
        if len(found) != 1:
            there = f"{len(found)} have that name" if found else "there is none of that name"
            self._refuse(
                "must name one layer with weights, at the same place in the motivated model",
                f"it calls the partner of layer '{self._ours.path(layer)}' '{wanted}', and {there}"
                + similar(wanted, [partner.name for partner in theirs]),
            )
        return found[0]

    def _check_one_to_one(self, pairs: Pairs, ours: list[Any]) -> None:
        owners: dict[int, Any] = {}
        for layer, partner in pairs:
            if owners.setdefault(id(partner), layer) is not layer:
                what = f"'{partner.name}' for both '{owners[id(partner)].name}' and '{layer.name}'"
                self._refuse("must give each layer of the base a partner of its own", what)
        done = {id(layer) for layer, _ in pairs}
        for layer in ours:
            # A number that Keras gave says nothing across two models: `dense_3` of the base need not be `dense_3`.
            if id(layer) in done or _keras.auto_name(layer) is not None:
                continue
            for other, partner in pairs:
                if plain_name(layer.name, self._ours.root) == plain_name(partner.name, self._theirs.root):
                    what = f"'{partner.name}' for '{other.name}', and nothing for the base's own '{layer.name}'"
                    self._refuse("must also say what a layer becomes whose name it gives to another one", what)

    def _refuse(self, rule: str, received: str) -> NoReturn:
        raise ValueError(f"Argument `rename` {rule}. Received: {received}")
