"""Motivation-aware training for Keras 3: train once, deploy two sizes (Acheli & Gaaloul, arXiv 2602.21064)."""

from keras_motivation import conditions
from keras_motivation.conditions import Always, LossStreak, MotivationCondition, Never, RandomActivation
from keras_motivation.entries import Entry
from keras_motivation.motivated_model import MotivatedModel
from keras_motivation.weights_map import WeightsMap

__version__ = "0.1.0"
__all__ = [
    "Always",
    "Entry",
    "LossStreak",
    "MotivatedModel",
    "MotivationCondition",
    "Never",
    "RandomActivation",
    "WeightsMap",
    "conditions",
]
