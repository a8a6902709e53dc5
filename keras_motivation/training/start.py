"""How the weights of the nested models start."""

from keras_motivation.nesting.silence import silence
from keras_motivation.nesting.weights_map import WeightsMap


def start(maps: list[WeightsMap], initialize: str, extension: str) -> str:
    """Sets the shared weights and the extensions.

    Args:
        maps: The `WeightsMap` of each model into the next one.
        initialize: "base" (the smallest model has the shared weights) or "motivated" (the largest one has them).
        extension: "silent" or "random".

    Returns:
        How the extensions start now: "random" if one of them cannot start silent.
    """
    if initialize == "motivated":
        for weights_map in reversed(maps):
            weights_map.copy_to_base()
    silent = []
    for weights_map in maps:
        weights_map.copy_to_motivated()
        silent.append(extension == "silent" and silence(weights_map))
        weights_map.forget_probe()
    return "silent" if all(silent) else "random"
