"""What a pair stores besides its variables: settings of `compile`, and values that methods pass to each other."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class CompiledPair:
    """What `MotivatedModel.compile` sets in addition to Keras. In an object, so that Keras does not track its parts.

    Attributes:
        motivation: The `MotivationCondition`; None before `compile`, like the metrics.
        share: The metric for the share of motivated batches.
        metric_states: The `MetricStates`.
        evaluate: Whether `evaluate` also evaluates the motivated model.
        motivated_batch: Weights of the base's loss and of the motivated model's loss on a motivated batch.
        batch_log: The `BatchLog`, if batches are recorded.
        dispatch: Where the model of a batch is chosen.
        has_loss: Whether there is a loss besides those that layers add.
        all_have_penalties: Whether it is known that the layers of all models that train add losses.
    """

    motivation: Any = None
    share: Any = None
    metric_states: Any = None
    evaluate: bool = True
    motivated_batch: tuple[float, float] = (0.0, 1.0)
    batch_log: Any = None
    dispatch: str = "auto"
    has_loss: bool = True
    all_have_penalties: bool = False


@dataclass
class RunState:
    """What methods of a pair pass to each other. In an object, so that Keras does not track it as a layer's state.

    Attributes:
        variables: For each nested model, its variables at the time when the pair was made.
        layer_metrics: For each nested model, the metrics of its layers.
        losses: Penalties of the nested model that is running; None outside of a run.
        written: Weights, with their placements, that the forward pass of this batch has written. They must be copied to
            the base.
        ran: The nested models that have run since the training function was made.
        evaluated: The nested model that is being evaluated.
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
    warned_of_training: bool = False
    own_gradients: bool = False
    state_variables: dict[str, list[Any]] = field(default_factory=dict)
    forward_flops: dict[str, tuple[int, int]] = field(default_factory=dict)
