"""What a pair stores besides its variables: settings of `compile`, and values that methods pass to each other."""

from dataclasses import dataclass, field
from typing import Any

from keras_motivation.training.distillation import Distillation
from keras_motivation.training.levels import Kinds

PAIR = Kinds(terms=(((0, 1.0),), ((1, 1.0),)), levels=(0, 1))


@dataclass
class CompiledPair:
    """What `MotivatedModel.compile` sets in addition to Keras. In an object, so that Keras does not track its parts.

    Attributes:
        motivation: The `MotivationCondition`; None before `compile`, like the metrics.
        shares: The metrics for the shares of motivated batches.
        condition_logs: The metric with what the condition adds to the logs, if it does.
        metric_states: The `MetricStates` of each model but the smallest.
        evaluate: Whether `evaluate` also evaluates the larger models.
        motivated_batch: The argument of `compile`.
        kinds: The kinds of batches.
        draw: The `KindDraw`, if a level has several kinds.
        distillation: The `Distillation` inside batches that train several models.
        batch_log: The `BatchLog`, if batches are recorded.
        dispatch: Where the model of a batch is chosen.
        arguments: The arguments of `compile` for the `compile` of the nested models; None if they have none.
        has_loss: Whether there is a loss besides those that layers add.
        all_have_penalties: Whether it is known that the layers of all models that train add losses.
    """

    motivation: Any = None
    shares: list[Any] = field(default_factory=list)
    condition_logs: Any = None
    metric_states: list[Any] = field(default_factory=list)
    evaluate: bool = True
    motivated_batch: Any = "alternate"
    kinds: Kinds = PAIR
    draw: Any = None
    distillation: Distillation | None = None
    batch_log: Any = None
    dispatch: str = "auto"
    arguments: dict[str, Any] | None = None
    has_loss: bool = True
    all_have_penalties: bool = False

    @property
    def decider(self) -> Any:
        """The condition whose `level` is the number of the next batch's kind: the user's, or the draw around it."""
        return self.draw or self.motivation


@dataclass
class RunState:
    """What methods of a pair pass to each other. In an object, so that Keras does not track it as a layer's state.

    Attributes:
        variables: For each nested model, its variables at the time when the pair was made.
        layer_metrics: For each nested model, the metrics of its layers.
        losses: Penalties of the nested model that is running; None outside of a run.
        written: The size of each model that ran in this batch, and its shared variables that its forward pass has
            written. They must be copied to the variables that store these weights.
        ran: The nested models that have run since the training function was made.
        evaluated: The nested model that is being evaluated.
        own_objectives: Whether the nested models compute their loss and metrics themselves.
        size: The position of the model whose objective counts.
        takes_boxes: Whether batches may be dictionaries of images and boxes, as KerasCV's detectors take them.
        lent: Whether all nested models have what the pair's `compile` made.
        pipeline: What preprocesses raw data, if the models are tasks of KerasHub.
        building: Whether Keras builds metrics by a try on symbols.
        own_metrics: For each nested model, the metrics that it has made itself, as last found.
        warned_of_training: Whether there was a warning that another model trains the pair.
        own_gradients: Whether a nested model has functions with their own gradients (TensorFlow's replicas).
        state_variables: The variables from which the state was taken, by the kind of the list (JAX).
        forward_flops: FLOPs of each nested model's forward pass, by the requested shape of inputs.
    """

    variables: list[list[Any]]
    layer_metrics: list[list[Any]]
    losses: list[Any] | None = None
    written: list[tuple[Any, Any]] = field(default_factory=list)
    ran: set[int] = field(default_factory=set)
    evaluated: int = 0
    own_objectives: bool = False
    size: int = 0
    takes_boxes: bool = False
    lent: bool = False
    building: bool = False
    pipeline: Any = None
    own_metrics: list[list[Any]] = field(default_factory=list)
    warned_of_training: bool = False
    own_gradients: bool = False
    state_variables: dict[str, list[Any]] = field(default_factory=dict)
    forward_flops: dict[str, tuple[int, ...]] = field(default_factory=dict)
