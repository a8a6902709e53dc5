"""Motivation-aware training for Keras 3: train once, deploy two sizes (Acheli & Gaaloul, arXiv 2602.21064)."""

from keras_motivation import conditions, plots
from keras_motivation.backup import BackupAndRestore
from keras_motivation.callbacks import MotivationHistory
from keras_motivation.conditions import (
    Always,
    Between,
    LossStreak,
    LossTrend,
    MotivationCondition,
    Never,
    RandomActivation,
    Schedule,
)
from keras_motivation.costs import TrainingCost
from keras_motivation.entries import Entry
from keras_motivation.extension_optimizer import ExtensionOptimizerMap
from keras_motivation.flops import count_flops
from keras_motivation.motivated_model import MotivatedModel
from keras_motivation.recalibration import recalibrate_batch_norm
from keras_motivation.weights_map import WeightsMap

__version__ = "0.1.0"
__all__ = [
    "Always",
    "BackupAndRestore",
    "Between",
    "Entry",
    "ExtensionOptimizerMap",
    "LossStreak",
    "LossTrend",
    "MotivatedModel",
    "MotivationCondition",
    "MotivationHistory",
    "Never",
    "RandomActivation",
    "Schedule",
    "TrainingCost",
    "WeightsMap",
    "conditions",
    "count_flops",
    "plots",
    "recalibrate_batch_norm",
]
