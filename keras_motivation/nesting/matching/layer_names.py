"""The names under which a user may call the layers of a model."""

import difflib
from collections.abc import Iterable
from typing import Any

from keras_motivation import _keras
from keras_motivation.nesting.matching.blocks import plain_name


class Names:
    """The names of a model's layers: each layer's own, or the end of its path.

    Args:
        model: A model. Its own name is no part of the paths, and may be left out where layer names repeat it.
    """

    def __init__(self, model: Any) -> None:
        self.root = model.name
        self._paths: dict[int, list[tuple[str, ...]]] = {}
        self._collect(model, ())

    def is_called(self, layer: Any, name: str) -> bool:
        """Whether `name` is that of the layer. With `/` it is the end of the path: `encoder/block_1`."""
        *parents, own = name.split("/")
        if own not in (layer.name, plain_name(layer.name, self.root)):
            return False
        ends = (path[len(path) - len(parents) - 1 : -1] for path in self._paths[id(layer)] if len(path) > len(parents))
        return any(list(end) == parents for end in ends)

    def has(self, name: str) -> bool:
        """Whether a layer is called so."""
        *parents, own = name.split("/")
        plain = plain_name(own, self.root)
        return any(
            plain_name(path[-1], self.root) == plain and list(path[len(path) - len(parents) - 1 : -1]) == parents
            for paths in self._paths.values()
            for path in paths
            if len(path) > len(parents)
        )

    def path(self, layer: Any) -> str:
        """A layer's path of names, without the model's."""
        return "/".join(self._paths[id(layer)][0])

    def all(self) -> set[str]:
        """The layers' own names."""
        return {path[-1] for paths in self._paths.values() for path in paths}

    def _collect(self, layer: Any, path: tuple[str, ...]) -> None:
        for sublayer in _keras.direct_sublayers(layer):
            self._paths.setdefault(id(sublayer), []).append((*path, sublayer.name))
            self._collect(sublayer, (*path, sublayer.name))


def similar(name: str, names: Iterable[str]) -> str:
    """The names that look like one, for a message; empty if there are none."""
    found = difflib.get_close_matches(name.split("/")[-1], sorted(names), n=3)
    return f" (similar: {', '.join(found)})" if found else ""
