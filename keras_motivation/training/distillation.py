"""Distillation inside a batch that trains several models: the smaller ones also learn from the largest."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_motivation import _keras
from keras_motivation.training.levels import Kinds


@dataclass(frozen=True)
class Distillation:
    """Keras's losses between the outputs of two models, with their weights.

    Attributes:
        losses: The `keras.distillation.DistillationLoss` objects.
        weights: A weight for each.
    """

    losses: tuple[Any, ...]
    weights: tuple[float, ...]

    def loss(self, teacher: Any, student: Any, sample_weight: Any, output_names: Sequence[str] | None) -> Any:
        """The weighted sum of the losses. No gradient goes to the teacher.

        Args:
            teacher: Outputs of the largest model in the batch.
            student: Outputs of a smaller one.
            sample_weight: As in `keras.Model.compute_loss`. With a weight w, the gradient of an example (or of a time
                step) is w times as large. Steps that the model masks have no gradient.
            output_names: Names of the outputs, for `sample_weight` as a dictionary.
        """
        teacher = keras.tree.map_structure(ops.stop_gradient, teacher)
        student = _weighted(student, sample_weight, output_names)
        total = 0.0
        for loss, weight in zip(self.losses, self.weights):
            loss.validate_outputs(teacher, student)
            found = loss.compute_loss(teacher, student)
            if len(found.shape):
                raise ValueError(
                    f"Argument `distillation`: `{type(loss).__name__}.compute_loss` must return a scalar. Received a "
                    f"tensor of shape {tuple(found.shape)}"
                )
            total = total + weight * found
        return total


def distillation_of(losses: Any, weights: Any, kinds: Kinds, pair: Any) -> Distillation | None:
    """The distillation for arguments of `compile`.

    Args:
        losses: A `keras.distillation.DistillationLoss`, or a list of them; None for no distillation.
        weights: A number for each loss; one number for all; None for 1.
        kinds: The kinds of batches.
        pair: The pair, which may have a `tf.distribute` strategy.

    Warns:
        UserWarning: If a loss takes logits and the models give probabilities.

    Raises:
        TypeError: If a loss is of another type.
        ValueError: If the weights do not fit, if no kind of batch trains several models, or if a loss cannot be used.
    """
    if losses is None:
        if weights is not None:
            raise ValueError(f"Argument `distillation` must be given. Received: distillation_weights={weights!r}")
        return None
    found = tuple(losses) if isinstance(losses, (list, tuple)) else (losses,)
    if not found or not all(isinstance(loss, keras.distillation.DistillationLoss) for loss in found):
        raise TypeError(
            "Argument `distillation` must be a `keras.distillation.DistillationLoss`, such as "
            f"`keras.distillation.LogitsDistillation(...)`, or a list of them. Received: distillation={losses!r}"
        )
    given = weights if isinstance(weights, (list, tuple)) else (1.0 if weights is None else weights,) * len(found)
    numbers = all(isinstance(w, (int, float)) and not isinstance(w, bool) and 0 <= w < float("inf") for w in given)
    if not numbers or len(given) != len(found):
        raise ValueError(
            f"Argument `distillation_weights` must be a number of at least 0, or {len(found)} of them, one for each "
            f"loss. Received: distillation_weights={weights!r}"
        )
    if all(len(terms) == 1 for terms in kinds.terms):
        raise ValueError(
            'Argument `distillation` needs a kind of batch that trains several models: pass `motivated_batch="joint"`, '
            "for example. Received: batches of one model each"
        )
    replicas = getattr(getattr(pair, "distribute_strategy", None), "num_replicas_in_sync", 1)
    for loss in found:
        _check(loss, replicas)
    applied = [layer.name for layer, _ in _keras.output_activations(pair._nested[0])]
    if applied and any(isinstance(loss, keras.distillation.LogitsDistillation) for loss in found):
        warnings.warn(
            f"`LogitsDistillation` takes the models' outputs as logits, but their layers {applied} apply a softmax or "
            "sigmoid. Build the models with linear outputs (in keras.applications `classifier_activation=None`) and a "
            "loss with `from_logits=True`.",
            stacklevel=3,
        )
    return Distillation(found, tuple(map(float, given)))


def _check(loss: Any, replicas: int) -> None:
    layers = [getattr(loss, f"{side}_layer_name", None) for side in ("teacher", "student")]
    if any(name is not None for name in layers):
        raise ValueError(
            "Argument `distillation` must compare the models' outputs: the outputs of other layers are not kept. "
            f"Leave out `teacher_layer_name` and `student_layer_name`. Received: layers {layers}"
        )
    parts = keras.tree.flatten(getattr(loss, "loss", None))
    if isinstance(loss, keras.distillation.LogitsDistillation) and any(map(_keras.is_plain_divergence, parts)):
        raise ValueError(
            "Argument `distillation`: with the loss 'kl_divergence' by name, which is also its default, Keras's "
            "`LogitsDistillation` compares logits as if they were probabilities. Pass the object: "
            "`LogitsDistillation(temperature=..., loss=keras.losses.KLDivergence())`."
        )
    objects = all(part is None or isinstance(part, keras.losses.Loss) for part in parts)
    if replicas > 1 and not (objects and any(parts)):
        raise ValueError(
            "Argument `distillation`: under a `tf.distribute` strategy with several replicas, only objects of "
            "`keras.losses`, such as `keras.losses.KLDivergence()`, divide their mean by the number of replicas. "
            f"Received: loss={getattr(loss, 'loss', None)!r}"
        )


def _weighted(student: Any, sample_weight: Any, output_names: Sequence[str] | None) -> Any:
    """The same outputs, whose gradients are multiplied by the weights. This fits every loss and reduction."""
    outputs = keras.tree.flatten(student)
    if isinstance(sample_weight, dict) and not isinstance(student, dict) and output_names is not None:
        sample_weight = [sample_weight.get(name) for name in output_names]
    weights = keras.tree.flatten(sample_weight)
    weights = weights * len(outputs) if len(weights) == 1 else weights
    if len(weights) != len(outputs):
        raise ValueError(
            f"Argument `sample_weight` must have one part, or one for each of the {len(outputs)} outputs. Received: "
            f"{len(weights)} parts"
        )
    found = []
    for output, weight in zip(outputs, weights):
        fixed = ops.stop_gradient(output)
        for factor in (weight, _valid(_keras.mask_of(output), output)):
            output = output if factor is None else fixed + _fitted(factor, output) * (output - fixed)
        found.append(output)
    return keras.tree.pack_sequence_as(student, found)


def _valid(mask: Any, output: Any) -> Any:
    """The weights by which Keras's losses leave out masked steps: the others share the weight of these."""
    if mask is None:
        return None
    valid = ops.cast(mask, output.dtype)
    return ops.divide_no_nan(valid, ops.mean(valid))


def _fitted(weight: Any, output: Any) -> Any:
    """Weights of examples, or of their parts, with the axes and the dtype of an output."""
    weight = ops.cast(weight, output.dtype)
    rank = len(output.shape)
    while len(weight.shape) > rank and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, axis=-1)
    return ops.reshape(weight, (*ops.shape(weight), *[1] * (rank - len(weight.shape))))
