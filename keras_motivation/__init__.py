"""Motivation-aware training for Keras 3: train once, deploy two sizes (Acheli & Gaaloul, arXiv 2602.21064)."""

from keras_motivation import conditions
from keras_motivation.checkpoints.backup import BackupAndRestore
from keras_motivation.conditions import (
    Always,
    Between,
    Budget,
    LossPlateau,
    LossStreak,
    LossTrend,
    MotivationCondition,
    Never,
    Phases,
    RandomActivation,
    Schedule,
)
from keras_motivation.costs.flops import count_flops
from keras_motivation.costs.training_cost import TrainingCost
from keras_motivation.motivated_model import MotivatedModel
from keras_motivation.nesting.entry import Entry
from keras_motivation.nesting.weights_map import WeightsMap
from keras_motivation.reports import plots
from keras_motivation.reports.history import MotivationHistory
from keras_motivation.training.optimizers.extension import ExtensionOptimizerMap
from keras_motivation.training.recalibration import recalibrate_batch_norm

__version__ = "0.1.0"
__all__ = [
    "Always",
    "BackupAndRestore",
    "Between",
    "Budget",
    "Entry",
    "ExtensionOptimizerMap",
    "LossPlateau",
    "LossStreak",
    "LossTrend",
    "MotivatedModel",
    "MotivationCondition",
    "MotivationHistory",
    "Never",
    "Phases",
    "RandomActivation",
    "Schedule",
    "TrainingCost",
    "WeightsMap",
    "conditions",
    "count_flops",
    "plots",
    "recalibrate_batch_norm",
]
