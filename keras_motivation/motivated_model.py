"""`MotivatedModel`: a base model and a larger model that contains it, trained by one `fit` on shared weights."""

import contextlib
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_motivation import _keras, conditions, summaries
from keras_motivation._backend import DISPATCHES, BackendStep
from keras_motivation.accounting import Accounting
from keras_motivation.base_view import BaseView
from keras_motivation.checkpoints import NOT_HDF5, Checkpoints
from keras_motivation.checks import (
    check_choice,
    check_constraints,
    check_current,
    check_distribution,
    check_frozen_alike,
    check_not_empty,
    check_optimizer,
    check_pair,
    check_trained,
    loss_weights,
    no_data,
    warn_of_nothing_to_train,
)
from keras_motivation.conditions import PACKAGE, MotivationCondition
from keras_motivation.costs import TrainedExamples
from keras_motivation.entries import check_built
from keras_motivation.extension_optimizer import bind_extension
from keras_motivation.hooks import check_hooks
from keras_motivation.lost_writes import LostWrites
from keras_motivation.metric_states import MetricStates
from keras_motivation.missing_loss import is_given
from keras_motivation.optimizer_parts import inner
from keras_motivation.reports import Reports
from keras_motivation.silence import silence
from keras_motivation.step import CompiledPair, Step
from keras_motivation.updates import UpdateWindow
from keras_motivation.upkeep import kept_up
from keras_motivation.weights_map import WeightsMap


@keras.saving.register_keras_serializable(PACKAGE)
class MotivatedModel(BackendStep, Step, Reports, Accounting, Checkpoints, BaseView, keras.Model):
    """Trains a base model and, while training goes well, the larger motivated model that contains it.

    Ordinary batches train the base. When the motivation condition says so, the next batch trains the motivated model
    instead: its weights are *assembled* inside the step from the base's variables, which store the shared weights, and
    its own, which store its extension. One weight has one variable and one optimizer state, whichever model trains.

    `call`, `predict` and metrics without prefix are the base's. Everything else is `keras.Model`: `compile`, `fit`,
    `evaluate`, `save` and the rest.

    Args:
        base: The smaller model, built. Any `keras.Model`: functional, Sequential or subclassed.
        motivated: The larger model, built, with the same inputs and outputs. Its mapped weights take the base's values
            here, and the extension its start.
        weights_map: `WeightsMap` from `base` into `motivated`. `None` infers it by the names of the weights.
        initialize: Where the shared weights start: "base" (the motivated model takes the base's values) or "motivated"
            (the base takes its slice of the motivated model, which may be pretrained).
        extension: How the extension starts: "silent" (without effect: the first motivated batch computes what the base
            computes, up to layer norms over a widened axis) or "random" (the paper's: as the motivated model was built
            or trained). `None` is "silent", and "random" with `initialize="motivated"`.
        statistics: "private" (each model keeps batch-norm statistics and other buffers of its own) or "shared" (the
            paper's: one set, which both update). Training is the same, evaluation differs.
        name: Name of the pair.
        x: A batch of your data, nested as the inputs, of at least 2 different samples: what the check by numbers and
            the search for a silent start run on. `None` makes inputs up.

    Raises:
        ValueError: If a model is not built, the two differ in inputs or outputs, the weights do not map, nothing shows
            that they do (see `WeightsMap.infer`), or a model has a `train_step`, `test_step` or `compute_loss` of its
            own, which the pair would not call.
        TypeError: If an argument is of another type.

    Warns:
        UserWarning: If a model overrides other hooks that the pair does not call, such as `predict_step`.

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
        motivated: keras.Model,
        weights_map: WeightsMap | None = None,
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
        check_built("base", base)
        check_built("motivated", motivated)
        check_pair(base, motivated)
        check_hooks((base, motivated), type(self), MotivatedModel)
        variables = [list(model.variables) for model in (base, motivated)]
        if weights_map is None:
            weights_map = WeightsMap.infer(base, motivated, x=x)
        if not isinstance(weights_map, WeightsMap):
            raise TypeError(f"Argument `weights_map` must be a `WeightsMap` or None. Received: {weights_map!r}")
        if weights_map.base is not base or weights_map.motivated is not motivated:
            raise ValueError(
                "Argument `weights_map` must have been made for these two models. Received a map of "
                f"'{weights_map.base.name}' in '{weights_map.motivated.name}'."
            )
        if weights_map.x is None:
            weights_map.use(x)
        check_constraints(weights_map)
        super().__init__(name=name, **{"dtype": base.dtype_policy, **kwargs})
        self._nested = [base, motivated]  # smallest first
        self._weights_map = weights_map
        self.statistics = statistics
        # What the models share in training: the map of each nested model into the next.
        self._maps = [weights_map if statistics == "shared" else weights_map.without_buffers()]
        self._takes_training = [_keras.takes_training(model) for model in self._nested]
        # What a step shares with `losses` and `metrics`: plain namespaces, which Keras does not track as layers' state.
        self._running = types.SimpleNamespace(
            losses=None,
            written=[],  # by the forward pass, to be carried back
            ran=set(),  # which nested models have run since the training function was made
            layer_metrics=[_keras.layer_metrics(model) for model in self._nested],
            variables=variables,
            evaluated=0,
            warned_of_training=False,
        )
        self._compiled_pair = CompiledPair()
        self.trained_examples = TrainedExamples(name="trained_examples")
        self.update_window = UpdateWindow(name="update_window")
        self._forward_flops = types.SimpleNamespace(by_shape={})
        self.built = True  # not by `build`, after which Keras lets subclasses add no metrics of their own
        if initialize == "motivated":
            weights_map.copy_to_base()
        weights_map.copy_to_motivated()
        self.extension = "silent" if extension == "silent" and silence(weights_map) else "random"
        weights_map.forget_probe()
        self.check_variables()
        self._lost_writes = LostWrites(weights_map)
        self._lost_writes.note(self.trained_examples.result())

    @property
    def base(self) -> keras.Model:
        """The base model, as it was passed in. Its variables are the storage of the shared weights."""
        self.attach_state()
        return self._nested[0]

    @property
    def motivated(self) -> keras.Model:
        """The motivated model, as it was passed in, brought up to date with the shared weights.

        To change a shared weight, change it in `base`: what you write over it here is lost at the next look, with a
        warning.
        """
        self.sync()
        return self._nested[-1]

    @property
    def weights_map(self) -> WeightsMap:
        """The `WeightsMap` from the base into the motivated model."""
        return self._weights_map

    @property
    def motivation(self) -> MotivationCondition | None:
        """The motivation condition, or `None` before `compile`."""
        return self._compiled_pair.motivation

    @property
    def metric_states(self) -> MetricStates:
        """The motivated model's values of the metrics."""
        return self._compiled_pair.metric_states

    def summary(self, *args: Any, print_fn: Callable[[str], Any] | None = None, **kwargs: Any) -> None:
        """Prints the pair: both models' sizes, how depth and width grow by stage, and the policies.

        `model.base.summary()` and `model.motivated.summary()` list layers as Keras does.

        Args:
            *args: Not used; Keras's arguments shape a table of layers.
            print_fn: Called with each line, of at most 80 characters; `None` prints.
            **kwargs: Not used.
        """
        for line in summaries.pair_lines(self):
            (print_fn or print)(line)

    def sync(self) -> None:
        """Copies the shared weights into the motivated model's own variables.

        Training reads the shared weights where the base stores them; this refreshes the copy for whoever looks at the
        motivated model by itself. It happens at the end of `fit`, at access to `motivated`, and in `save`; only who
        holds on to the motivated model and trains by `train_on_batch` needs to call it.
        """
        self.attach_state()
        self._lost_writes.warn(self.trained_examples.result)
        for weights_map in self._maps:
            weights_map.copy_to_motivated()
        self._lost_writes.note(self.trained_examples.result())

    def replace_lost_writes(self) -> None:
        """If somebody wrote over shared weights in the motivated model: warns, and brings the base's back at once."""
        self.attach_state()
        if self._lost_writes.warn(self.trained_examples.result):
            self._lost_writes.forget()
            self.sync()

    def build(self, input_shape: Any = None) -> None:
        """Nothing to build: both models are built when they come in."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The base's outputs."""
        self.warn_if_trained_from_outside(training)
        return self._nested[0](inputs, **({"training": training} if self._takes_training[0] else {}))

    # ---- State: what the pair stores, in which order -------------------------------------------------------------

    def _stored(self, attribute: str) -> list[Any]:
        """Variables that store something: the base's, then those that the base does not cover, model by model."""
        stored = list(getattr(self._nested[0], attribute))
        for weights_map, model in zip(self._maps, self._nested[1:]):
            stored += [v for v in getattr(model, attribute) if not weights_map.is_covered(v)]
        if attribute == "weights":  # who sets the models' weights back does not turn back the clock
            return stored
        for part in (self.motivation, self.trained_examples, self.update_window):
            stored += [] if part is None else getattr(part, attribute)
        return stored

    @property
    def variables(self) -> list[Any]:
        """All state of the pair: base, extension, random seeds, the condition's memory. Each logical weight once."""
        return self._stored("variables")

    @property
    def weights(self) -> list[Any]:
        """Both models' weights, each logical weight once: `variables` without random seeds, memory and counts."""
        return self._stored("weights")

    @property
    def extension_variables(self) -> list[Any]:
        """The variables that hold the extension's trained weights.

        Of a widened weight, the variable has the motivated model's shape; the base's entries are stored in the base's.
        """
        trained = {id(v) for v in self._nested[0].trainable_variables}
        return [v for v in self.trainable_variables if id(v) not in trained]

    def trained_variables(self, motivated: bool) -> list[Any]:
        """The variables that a batch updates: the first of `trainable_variables`; all if the motivated model trains."""
        largest = max(level for level, _ in self.loss_terms(motivated))
        return self.trainable_variables if largest else self._nested[0].trainable_variables

    @property
    def losses(self) -> list[Any]:
        """Penalties (`add_loss`, regularisers) of the nested model that runs at present; else the base's."""
        running = self._running.losses
        return self._nested[0].losses if running is None else running

    @property
    def metrics(self) -> list[Any]:
        """Keras's metrics, the share of motivated batches, and the motivated model's values of the former."""
        pair = self._compiled_pair
        return super().metrics + [m for m in (pair.share, pair.metric_states, pair.record) if m is not None]

    def attach_state(self) -> None:
        """On JAX, `fit` holds the state outside of the variables until the epoch's end; this puts it back.

        For callbacks that read variables within an epoch. `base` and `motivated` call it themselves.
        """
        if hasattr(self, "jax_state_sync"):
            self.jax_state_sync()

    # ---- Configuration -------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        *args: Any,
        motivation: Any = "loss_streak",
        motivated_batch: Any = "alternate",
        evaluate_motivated: bool = True,
        dispatch: str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configures training as `keras.Model.compile` does, and the motivation.

        Args:
            optimizer: As in Keras. Where a weight is widened, it must act on each entry by itself, as SGD, Adam, AdamW,
                RMSprop and Lion do, and Adafactor, Lamb and Muon do not; in a pair that differs in depth only, any
                serves. `ExtensionOptimizerMap` gives the extension one of its own.
            loss: As in Keras. `None` for models whose layers add their losses (`add_loss`), or where a subclass of
                `MotivatedModel` overrides `compute_loss`.
            *args: As in Keras: `loss_weights`, `metrics`, and so on.
            motivation: The motivation condition: an instance, a name ("loss_streak", "always", "never", or the
                registered name of your own class), or a config. The same instance, or a name or config equal to the
                present one, keeps its memory when compiling again.
            motivated_batch: What a motivated batch minimises: "alternate" (the motivated model's loss, as in the
                paper), "joint" (the sum of both models' losses), or the weights of both, as (base's, motivated's).
                Wherever the base's loss takes part, it is what the condition hears and the logs show.
            evaluate_motivated: Whether `evaluate` and validation also evaluate the motivated model and report its
                results as `motivated_*`.
            dispatch: Where the model of a batch is chosen: "graph", inside one compiled step, so that the host need not
                wait for the device; "host", which calls one of two steps. TensorFlow has "graph" only, PyTorch "host"
                only, JAX both, of which "auto" is "host". About speed alone, and so not saved with the model.
            **kwargs: As in Keras.

        Raises:
            ValueError: If the condition's name, `motivated_batch` or `dispatch` is unknown, the optimizer accumulates
                gradients and clips each weight's by its norm, looks at the norm or shape of a weight that is widened,
                or has been built for other weights, a shared weight is
                frozen in one of the models only, or a `keras.distribution` is set on another backend than JAX, where it
                has no effect.
            TypeError: If `motivation` is of another type.

        Warns:
            UserWarning: If the base, or both models, have no trainable weights; or if an optimizer that is not Keras's
                own cannot be copied to see whether it acts on each entry of a weight by itself.
        """
        condition = self._same_or_new(motivation)
        weights = loss_weights(motivated_batch)
        check_choice("dispatch", dispatch, ("auto", *DISPATCHES))
        check_distribution()
        optimizer = keras.optimizers.get(optimizer)
        bind_extension(optimizer, self._nested[-1].variables)
        check_optimizer(optimizer, self.weights_map)
        self.check_variables()
        check_frozen_alike(self.weights_map)
        check_trained(self.trainable_variables, optimizer)
        warn_of_nothing_to_train(self._nested[0], self.trainable_variables, condition)
        if inner(optimizer) is not inner(getattr(self, "optimizer", None)):
            self.update_window.forget()  # a begun window is of the former one's gradients
        super().compile(optimizer, loss, *args, **kwargs)
        self._compiled_pair = CompiledPair(
            motivation=condition,
            share=keras.metrics.Mean(name="motivated"),
            metric_states=MetricStates(
                lambda: _variables(super(MotivatedModel, self).metrics), lambda: _keras.directions(self)
            ),
            evaluate=bool(evaluate_motivated),
            motivated_batch=weights,
            dispatch=dispatch,
            has_loss=is_given(self),
        )

    def _same_or_new(self, motivation: Any) -> MotivationCondition:
        condition, present = conditions.get(motivation), self.motivation
        if condition is motivation or present is None or type(condition) is not type(present):
            return condition
        same = {**condition.get_config(), "name": None} == {**present.get_config(), "name": None}
        return present if same else condition

    def get_compile_config(self) -> dict[str, Any]:
        """As in Keras, with the motivation."""
        config = super().get_compile_config()
        if config:
            config["optimizer"] = _keras.portable_config(config["optimizer"])
            config["motivation"] = keras.saving.serialize_keras_object(self.motivation)
            config["motivated_batch"] = list(self._compiled_pair.motivated_batch)
            config["evaluate_motivated"] = self._compiled_pair.evaluate
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """As in Keras, with the motivation."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """Both models and the weights map."""
        if _keras.writes_legacy_hdf5():  # by `keras.saving.save_model`; `save` refuses before the file is there
            raise ValueError(NOT_HDF5.format("a file of that format"))
        return {
            "name": self.name,
            "base": keras.saving.serialize_keras_object(self.base),
            "motivated": keras.saving.serialize_keras_object(self.motivated),
            "weights_map": self.weights_map.get_config(),
            "statistics": self.statistics,
            "extension": self.extension,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "MotivatedModel":
        """Rebuilds the pair of `get_config`."""
        config = dict(config)
        base, motivated = (
            keras.saving.deserialize_keras_object(config.pop(key, None), custom_objects=custom_objects)
            for key in ("base", "motivated")
        )
        weights_map = WeightsMap.from_config(config.pop("weights_map", None), base, motivated)
        extension = config.pop("extension", "random")
        check_choice("extension", extension, ("silent", "random"))
        model = cls(base, motivated, weights_map, extension="random", **config)  # its weights are loaded afterwards
        model.extension = extension
        return model

    def get_build_config(self) -> None:
        """Nothing to rebuild: both models carry their own."""

    # ---- Training ------------------------------------------------------------------------------------------------

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.fit`. Afterwards, also after an interruption, both models hold the current weights.

        Returns:
            The `History`. Beside the loss and metrics over all batches it has `motivated`, the share of motivated
            batches of each epoch in [0, 1]; with validation data also `val_motivated_loss` and the like.

        Raises:
            ValueError: If there are no data, if what is trainable has changed since `compile`, or if a model that is to
                train has no loss: none was given to `compile`, and its layers add none.
        """
        self.check_variables()
        self.replace_lost_writes()
        arguments = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs).arguments
        del arguments["self"]
        with (
            self._lost_writes.paused(),
            self._left_current(),
            self._data_of(**arguments),
            kept_up(self, arguments.get("callbacks")) as callbacks,
        ):
            history = super().fit(**{**arguments, "callbacks": callbacks})
        self.sync()
        return history

    def check_variables(self) -> None:
        """Raises a `RuntimeError` if either model has lost variables, or got new ones, since the pair was made."""
        check_current(self.weights_map, self._running.variables)

    def make_train_function(self, force: bool = False) -> Any:
        """As in Keras, which calls it in `fit` and `train_on_batch`."""
        self.check_variables()
        self.check_trained()
        if force or self.train_function is None:
            self._running.ran.clear()
        self.replace_lost_writes()
        self._lost_writes.forget()
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> Any:
        """As in Keras, which calls it in `evaluate` and `test_on_batch`."""
        self.replace_lost_writes()
        return super().make_test_function(force)

    def set_weights(self, weights: list[Any]) -> None:
        """As in Keras: of both models, each in the order of `weights`."""
        super().set_weights(weights)
        self._lost_writes.forget()  # of a widened weight, the part that the base stores may have been an old one

    def set_state_tree(self, state_tree: Any) -> None:
        """As in Keras."""
        super().set_state_tree(state_tree)
        self._lost_writes.forget()

    def check_trained(self) -> None:
        """Raises a `ValueError` if `trainable` has changed since `compile`, or differs between the models."""
        check_frozen_alike(self.weights_map)
        check_trained(self.trainable_variables, self.optimizer)

    @contextlib.contextmanager
    def _data_of(self, x: Any = None, *_: Any, **__: Any) -> Iterator[None]:
        """Says so if there are no data; takes the arguments of `fit`."""
        check_not_empty(x)
        try:
            yield
        except StopIteration as error:  # how JAX learns it where the length is not known beforehand
            raise ValueError(no_data(x)) from error

    @contextlib.contextmanager
    def _left_current(self) -> Iterator[None]:
        """After an error within, both models hold the current weights."""
        try:
            yield
        except BaseException as error:
            try:
                self.sync()
            except Exception as lost:  # the first error is the one to report
                error.add_note(
                    "The weights of both models are lost, because the failed step had taken over their memory: load "
                    f"them from a checkpoint. ({lost})"
                )
            try:
                if self.compiled:
                    self.check_trained()
            except ValueError as changed:  # by a callback, perhaps; what comes of it in mid-epoch does not tell
                error.add_note(str(changed))
            raise

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`, for both models in one pass over the data.

        Returns:
            The base's loss and metrics and, unless switched off in `compile`, the motivated model's as `motivated_*`.
        """
        if not self.compiled:  # Keras stumbles over the missing optimizer instead
            raise ValueError("You must call `compile()` before calling `evaluate()`.")
        self.check_variables()
        with self._left_current(), self._data_of(*args, **kwargs):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.predict`, of the base."""
        with self._left_current(), self._data_of(*args, **kwargs):
            return super().predict(*args, **kwargs)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refused: `quantize` would replace the shared weights. Quantize a loaded copy of each model instead."""
        raise NotImplementedError(
            "A pair cannot be quantized: save `model.base` and `model.motivated`, and quantize the loaded models."
        )

    def reset_metrics(self) -> None:
        """As in Keras, for both models' values."""
        super().reset_metrics()
        self.trained_examples.carry()
        if self.metric_states is not None:
            self.metric_states.reset_state()


def _variables(metrics: list[Any]) -> list[Any]:
    """All variables of the metrics, once each: composite metrics list those of their parts again."""
    return list({id(variable): variable for metric in metrics for variable in metric.variables}.values())
