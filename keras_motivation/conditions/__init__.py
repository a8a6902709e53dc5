"""Motivation conditions: they receive the training losses and decide which batches are motivated (paper, 3.1)."""

import re
from typing import Any

import keras

from keras_motivation.conditions.base import PACKAGE, MotivationCondition
from keras_motivation.conditions.budget import Budget
from keras_motivation.conditions.controls import Always, Never, RandomActivation, Schedule
from keras_motivation.conditions.loss_driven import Between, LossStreak, LossTrend
from keras_motivation.conditions.phases import Phases
from keras_motivation.conditions.plateau import LossPlateau

__all__ = [
    "PACKAGE",
    "Always",
    "Between",
    "Budget",
    "LossPlateau",
    "LossStreak",
    "LossTrend",
    "MotivationCondition",
    "Never",
    "Phases",
    "RandomActivation",
    "Schedule",
    "get",
    "same_or_new",
]

BUILT_IN: dict[str, type[MotivationCondition]] = {
    "loss_streak": LossStreak,
    "loss_trend": LossTrend,
    "loss_plateau": LossPlateau,
    "always": Always,
    "never": Never,
    "random_activation": RandomActivation,
}


def get(identifier: Any) -> MotivationCondition:
    """Returns the condition for an argument of `compile(motivation=...)`.

    Args:
        identifier: A `MotivationCondition`; a name ("loss_streak", "LossStreak", or the registered name of your own
            class, "package>Class"); or a config from `keras.saving.serialize_keras_object`.

    Returns:
        The condition: the instance itself, or a new one.

    Raises:
        ValueError: If a name is unknown or needs arguments.
        TypeError: If `identifier` is of another type.

    Examples:
        >>> import keras_motivation as km
        >>> km.conditions.get("loss_streak").k
        2
    """
    if isinstance(identifier, MotivationCondition):
        return identifier
    if isinstance(identifier, str):
        snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", identifier).lower()
        found = keras.saving.get_registered_object(identifier) or BUILT_IN.get(snake_case)
        if not (isinstance(found, type) and issubclass(found, MotivationCondition)):
            raise ValueError(
                f"Argument `motivation` must name one of {sorted(BUILT_IN)} or a registered `MotivationCondition`. "
                f"Received: motivation={identifier!r}"
            )
        try:
            return found()
        except TypeError as error:
            raise ValueError(
                f"The condition {identifier!r} needs arguments; pass an instance, for example "
                f"`motivation={found.__name__}(...)`. Received: motivation={identifier!r} ({error})"
            ) from error
    condition = keras.saving.deserialize_keras_object(identifier) if isinstance(identifier, dict) else identifier
    if not isinstance(condition, MotivationCondition):
        raise TypeError(
            "Argument `motivation` must be a `MotivationCondition`, the name of one, or its config. "
            f"Received: motivation={identifier!r} (of type {type(identifier).__name__})"
        )
    return condition


def same_or_new(identifier: Any, present: MotivationCondition | None) -> MotivationCondition:
    """The condition for a pair that is compiled again: the present one, with its memory, if the new one equals it.

    Args:
        identifier: As in `get`. An instance is taken as it is.
        present: The pair's condition so far, if any.

    Returns:
        The condition.
    """
    condition = get(identifier)
    if condition is identifier or present is None or type(condition) is not type(present):
        return condition
    same = {**condition.get_config(), "name": None} == {**present.get_config(), "name": None}
    return present if same else condition
