"""`MotivatedModel`: a base model and larger models that contain it, trained by one `fit` on shared weights."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_motivation import _keras, conditions
from keras_motivation.checkpoints.configuration import Configuration
from keras_motivation.checkpoints.loading import Loading
from keras_motivation.checkpoints.reloading import check_callbacks, warn_of
from keras_motivation.checkpoints.saving import Saving
from keras_motivation.conditions import PACKAGE, MotivationCondition
from keras_motivation.conditions.draw import draw_for
from keras_motivation.costs.accounting import Accounting
from keras_motivation.costs.training_cost import TrainedExamples
from keras_motivation.interface import KerasModel
from keras_motivation.nesting.weights_map import WeightsMap
from keras_motivation.reports import summaries
from keras_motivation.training.base_view import BaseView
from keras_motivation.training.checks.arguments import check_choice, check_distribution
from keras_motivation.training.checks.hooks import check_hooks, takes_boxes
from keras_motivation.training.checks.lost_writes import LostWrites
from keras_motivation.training.checks.missing_loss import is_given
from keras_motivation.training.checks.optimizer import check_optimizer
from keras_motivation.training.checks.pair import maps_of, nested_models
from keras_motivation.training.checks.variables import check_frozen_alike, check_trained, warn_of_nothing_to_train
from keras_motivation.training.compile_models import DEFAULT, LEFT_OUT, compile_models, named, own_compile
from keras_motivation.training.distillation import distillation_of
from keras_motivation.training.forward import Forward
from keras_motivation.training.guards import Guards
from keras_motivation.training.levels import kinds_of
from keras_motivation.training.metrics.logs import ConditionLogs, Logs, shares
from keras_motivation.training.objective import Objective, own_objectives
from keras_motivation.training.optimizers.extension import bind_extension
from keras_motivation.training.optimizers.parts import inner
from keras_motivation.training.optimizers.updates import UpdateWindow
from keras_motivation.training.pair_state import CompiledPair, RunState
from keras_motivation.training.preprocessing import Preprocessing, check_preprocessors
from keras_motivation.training.sharing import Sharing
from keras_motivation.training.start import start
from keras_motivation.training.state import State
from keras_motivation.training.step import Step
from keras_motivation.training.steps import DISPATCHES, BackendStep
from keras_motivation.training.upkeep import kept_up


@keras.saving.register_keras_serializable(PACKAGE)
class MotivatedModel(
    Guards,
    State,
    BackendStep,
    Forward,
    Step,
    Logs,
    Objective,
    Accounting,
    Configuration,
    Saving,
    Loading,
    BaseView,
    Preprocessing,
    KerasModel,
):
    """Trains a base model and, while training goes well, the larger motivated model that contains it.

    Ordinary batches train the base. If the motivation condition decides so, the next batch trains the motivated model
    instead. Inside the step, its weights are *assembled* from the base's variables, which store the shared weights, and
    its own variables, which store its extension. One weight has one variable and one optimizer state, whichever model
    trains.

    There may be several motivated models, each inside the next one. The condition then decides the level of a batch: 0
    trains the base, 1 the first motivated model, and so on.

    `call`, `predict` and metrics without a prefix are the base's. Everything else is as in `keras.Model`: `compile`,
    `fit`, `evaluate`, `save` and the rest.

    Args:
        base: The smaller model, built. Any `keras.Model`: functional, Sequential or subclassed.
        motivated: The larger model, built, with the same inputs and outputs; or a list of larger models, each inside
            the next one, the smallest first. This sets their mapped weights to the base's values, and sets the start of
            their extensions.
        weights_map: `WeightsMap` from `base` into `motivated`. `None` infers it from the names of the weights. With
            several motivated models: a list with the map of each model into the next one, or `None` in its place.
        initialize: Where the shared weights start: "base" (the motivated model takes the base's values) or "motivated"
            (the base takes its slice of the largest motivated model, which may be pretrained).
        extension: How the extension starts: "silent" (without effect: the first motivated batch computes what the base
            computes, up to layer norms over a widened axis) or "random" (the paper's setting: as the motivated model
            was built or trained). `None` is "silent", or "random" with `initialize="motivated"`.
        statistics: "private" (each model has its own batch-norm statistics and other buffers) or "shared" (the paper's
            setting: one set, which both models update). Training is the same; evaluation differs.
        name: Name of the pair.
        x: A batch of your data, nested like the inputs, with at least 2 different samples. The check by numbers and the
            search for a silent start run on it. `None` generates inputs.

    Raises:
        ValueError: If a model is not built, if the two differ in inputs or outputs, if the weights do not map, if this
            cannot be proven (see `WeightsMap.infer`), if a model has its own `train_step` or `test_step`, which the
            pair would not call, or if tasks of KerasHub have different preprocessors.
        TypeError: If an argument is of another type.

    Warns:
        UserWarning: If a model overrides other hooks that the pair does not call, such as `fit`; or if Keras
            cannot save a model in a `.keras` file, or cannot load it again as it is. The pair trains, and
            `save_weights` works.

    Source: paper, section 3.1 (the procedure) and 3.3 (the weights map).

    Examples:
        >>> import keras, numpy as np
        >>> import keras_motivation as km
        >>> def mlp(width):
        ...     return keras.Sequential([keras.Input((4,)), keras.layers.Dense(width, "relu"), keras.layers.Dense(1)])
        >>> model = km.MotivatedModel(mlp(8), mlp(16))
        >>> model.compile("sgd", "mse", motivation=km.LossStreak(k=1))
        >>> history = model.fit(np.ones((32, 4)), np.ones((32, 1)), batch_size=4, epochs=2, verbose=0)
        >>> sorted(history.history)
        ['loss', 'motivated']
        >>> model.motivated.predict(np.ones((2, 4)), verbose=0).shape
        (2, 1)
    """

    def __init__(
        self,
        base: keras.Model,
        motivated: keras.Model | Sequence[keras.Model],
        weights_map: WeightsMap | Sequence[WeightsMap | None] | None = None,
        initialize: str = "base",
        extension: str | None = None,
        statistics: str = "private",
        name: str | None = None,
        x: Any = None,
        **kwargs: Any,
    ) -> None:
        check_choice("initialize", initialize, ("base", "motivated"))
        extension = extension or ("silent" if initialize == "base" else "random")
        check_choice("extension", extension, ("silent", "random"))
        check_choice("statistics", statistics, ("private", "shared"))
        nested = nested_models(base, motivated)
        check_hooks(nested, type(self), MotivatedModel)
        check_preprocessors(nested)
        variables = [list(model.variables) for model in nested]
        maps = maps_of(nested, weights_map, x)
        warn_of(nested)
        super().__init__(name=name, **{"dtype": base.dtype_policy, **kwargs})
        self._nested = nested  # smallest first
        self._weights_maps = maps  # of each model into the next one
        self.statistics = statistics
        self._sharing = Sharing(maps if statistics == "shared" else [m.without_buffers() for m in maps])
        self._takes_training = [_keras.takes_training(model) for model in self._nested]
        self._running = RunState(variables, [_keras.layer_metrics(model) for model in self._nested])
        self._running.own_objectives = own_objectives(nested)
        self._running.takes_boxes = takes_boxes(base)
        self._compiled_pair = CompiledPair()
        self.trained_examples = TrainedExamples(len(nested), name="trained_examples")
        self.update_window = UpdateWindow(len(nested), name="update_window")
        self.built = True  # not by `build`: after it, Keras does not let subclasses add metrics
        self.extension = start(maps, initialize, extension)
        self.check_variables()
        self._lost_writes = LostWrites(maps)
        self._lost_writes.note(self.trained_examples.result())

    @property
    def base(self) -> keras.Model:
        """The base model that was passed. Its variables store the shared weights."""
        self.attach_state()
        return self._nested[0]

    @property
    def models(self) -> list[keras.Model]:
        """All models, the smallest first, updated with the shared weights. See `motivated`."""
        self.sync()
        return [*self._nested]

    @property
    def motivated(self) -> keras.Model:
        """The (largest) motivated model that was passed, updated with the shared weights.

        Change a shared weight in `base`. A value that you write here is replaced at the next read, with a warning.
        """
        self.sync()
        return self._nested[-1]

    @property
    def weights_map(self) -> WeightsMap:
        """The `WeightsMap` from the base into the (smallest) motivated model."""
        return self._weights_maps[0]

    @property
    def weights_maps(self) -> list[WeightsMap]:
        """The `WeightsMap` of each model into the next one."""
        return list(self._weights_maps)

    @property
    def motivation(self) -> MotivationCondition | None:
        """The motivation condition, or `None` before `compile`."""
        return self._compiled_pair.motivation

    def summary(self, *args: Any, print_fn: Callable[[str], Any] | None = None, **kwargs: Any) -> None:
        """Prints the sizes of all models, how depth and width grow in each stage, and the settings.

        `model.base.summary()` and `model.motivated.summary()` list the layers as Keras does.

        Args:
            *args: Not used; Keras's arguments are for a table of layers.
            print_fn: Called with each line, of at most 80 characters; `None` prints.
            **kwargs: Not used.
        """
        for line in summaries.pair_lines(self):
            (print_fn or print)(line)

    def sync(self) -> None:
        """Copies the shared weights into the motivated model's own variables.

        Training reads the shared weights from the base. This method updates the copy in the motivated model. `fit`
        calls it at its end, `save` calls it, and reading `motivated` calls it. Call it yourself only if you keep a
        reference to the motivated model and train with `train_on_batch`.
        """
        self.attach_state()
        self._lost_writes.warn(self.trained_examples.result)
        self._sharing.copy_to_all()
        self._lost_writes.note(self.trained_examples.result())

    def compile(
        self,
        optimizer: Any = LEFT_OUT,
        loss: Any = None,
        *args: Any,
        motivation: Any = "loss_streak",
        motivated_batch: Any = "alternate",
        distillation: Any = None,
        distillation_weights: Any = None,
        evaluate_motivated: bool = True,
        dispatch: str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configures training as `keras.Model.compile` does, and the motivation.

        Args:
            optimizer: As in Keras. If a weight is widened, the optimizer must act on each entry independently. SGD,
                Adam, AdamW, RMSprop and Lion do; Adafactor, Lamb and Muon do not. If the models differ only in depth,
                any optimizer works. `ExtensionOptimizerMap` gives the extension its own optimizer. "auto" is Keras's
                default, or that of the models' own `compile`.
            loss: As in Keras. `None` for models that know their loss: by their own `compile` or `compute_loss`, or by
                layers that add losses (`add_loss`).
            *args: As in Keras: `loss_weights`, `metrics`, and so on.
            motivation: The motivation condition: an instance, a name ("loss_streak", "always", "never", or the
                registered name of your own class), or a config. If you compile again with the same instance, or with a
                name or config equal to the present one, the condition keeps its memory.
            motivated_batch: What a motivated batch minimises: "alternate" (the motivated model's loss, as in the
                paper), "joint" (the sum of its and all smaller models' losses), "sandwich" (the sum of the losses of
                the smallest and the largest model, and of one in between, which is drawn for each batch; with
                `("sandwich", n)` of n), or the weight of each model's loss, the smallest model first. The condition
                receives, and the logs show, the loss of the smallest model that trains. A list of these makes more
                levels: with `["alternate", "joint"]`, level 1 of a pair is the motivated model alone, and level 2 is
                joint.
            distillation: A `keras.distillation.DistillationLoss`, or a list of them. In batches that train several
                models, the smaller ones also learn from the outputs of the largest one. `None` for none.
            distillation_weights: The weight of the distillation, next to a model's own loss; a number, or one for each
                element of the list. `None` means 1.
            evaluate_motivated: Whether `evaluate` and validation also evaluate the motivated models, and report their
                results as `motivated_*`; with several, as `motivated_1_*`, `motivated_2_*` and so on.
            dispatch: Where the model of a batch is chosen: "graph", inside one compiled step, so that the host does not
                wait for the device; or "host", which calls one of two steps. TensorFlow has only "graph", PyTorch only
                "host". JAX has both; there, "auto" is "host". This affects only speed, so it is not saved with the
                model.
            **kwargs: As in Keras. If the models have a `compile` of their own, as tasks of KerasHub have: what that
                takes, such as `box_loss`. What you leave out is as in the models' own `compile`: their loss, their
                metrics. They are compiled, too, but keep the optimizer that they have.

        Raises:
            ValueError: If the condition's name, `motivated_batch` or `dispatch` is unknown; if a distillation loss
                cannot be used, or no kind of batch trains several models; if the condition asks for a
                level that does not exist; if the optimizer both accumulates gradients and clips each weight's gradient
                by its norm, if it uses the norm or shape of a widened weight, or if it was built for other weights; if
                a shared weight is frozen in only one of the models; or if a `keras.distribution` is set on another
                backend than JAX, where it has no effect.
            TypeError: If `motivation` or `distillation` is of another type.

        Warns:
            UserWarning: If the base, or both models, have no trainable weights; or if an optimizer that is not Keras's
                own cannot be copied to test whether it acts on each entry of a weight independently; or if a
                distillation loss takes logits and the models give probabilities.
        """
        condition = conditions.same_or_new(motivation, self.motivation)
        kinds = kinds_of(motivated_batch, len(self._nested))
        distilled = distillation_of(distillation, distillation_weights, kinds, self)
        check_choice("dispatch", dispatch, ("auto", *DISPATCHES))
        check_distribution()
        results = arguments = None
        if own_compile(self._nested):
            arguments = named(self._nested[0], loss, args, kwargs)
            optimizer, results = compile_models(self._nested, optimizer, arguments)
        optimizer = keras.optimizers.get(DEFAULT if optimizer == LEFT_OUT else optimizer)
        bind_extension(optimizer, [v for model in self._nested[1:] for v in model.variables])
        check_optimizer(optimizer, self.weights_maps)
        self.check_variables()
        check_frozen_alike(self.weights_maps)
        check_trained(self.trainable_variables, optimizer)
        warn_of_nothing_to_train(self._nested[0], self.trainable_variables, condition)
        draw = draw_for(condition, kinds.counts, self.next_kind)
        (draw or condition).bind(kinds.highest, functools.partial(self._level_costs, kinds), self._spent)
        if inner(optimizer) is not inner(getattr(self, "optimizer", None)):
            self.update_window.forget()  # an unfinished window has gradients of the former optimizer
        if results is None:
            super().compile(optimizer, loss, *args, **kwargs)
        else:
            super().compile(optimizer, **results)
        self._compiled_pair = CompiledPair(
            motivation=condition,
            shares=shares(kinds.highest + 1),
            condition_logs=ConditionLogs(condition) if condition.logs() else None,
            metric_states=self._new_metric_states(),
            evaluate=bool(evaluate_motivated),
            motivated_batch=motivated_batch,
            kinds=kinds,
            draw=draw,
            distillation=distilled,
            dispatch=dispatch,
            arguments=arguments,
            has_loss=is_given(self, MotivatedModel),
        )

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Like `keras.Model.fit`. Afterwards, also after an interruption, all models have the current weights.

        Returns:
            The `History`. In addition to the loss and metrics over all batches, it has `motivated`, the share of
            motivated batches of each epoch, in [0, 1]; with more than two levels also `level_1`, `level_2`, ..., the
            share of each. With validation data it also has `val_motivated_loss` and so on.

        Raises:
            ValueError: If there are no data, if the trainable weights have changed since `compile`, if a model has
                no loss to train on (none was passed to `compile`, and its layers add none), or if a `ModelCheckpoint`
                would fail at its first save.
        """
        self.check_variables()
        self.replace_lost_writes()
        arguments = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs).arguments
        del arguments["self"]
        check_callbacks(self._nested, arguments.get("callbacks"))
        with (
            self._lost_writes.paused(),
            self._left_current(),
            self._data_of(**arguments),
            kept_up(self, arguments.get("callbacks")) as callbacks,
        ):
            history = super().fit(**{**arguments, "callbacks": callbacks})
        self.sync()
        return history
