"""What `test_distributed_tensorflow.py` runs in processes of their own: TensorFlow's devices are set at its start.

    python replicas_tensorflow.py one|mirrored|worker-0|worker-1 [port port]

Prints a line of JSON: the logs of each epoch, the motivated batches, and the weights.
"""

import contextlib
import json
import os
import sys

role = sys.argv[1]
if role.startswith("worker"):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in sys.argv[2:4]]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": int(role[-1])}})

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

cpu = tf.config.list_physical_devices("CPU")[0]
if role.startswith("worker"):
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
else:
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = None if role == "one" else tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

import keras  # noqa: E402
from helpers import crossentropy, mlp, pair_of, randomise, values, vectors  # noqa: E402

import keras_motivation as km  # noqa: E402

X, Y = vectors(16, 8)


def scope():
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def pair(norm=False, family=False, **kwargs):
    keras.utils.set_random_seed(0)
    with scope():
        base, motivated = pair_of("both", lambda *sizes: mlp(*sizes, norm=norm))
        more = [randomise(mlp(width, 3, norm=norm), width) for width in (8, 9)]
        larger = [motivated, *(more if family else [])]
        model = km.MotivatedModel(base, larger, extension="random")
        settings = {"optimizer": keras.optimizers.SGD(0.05, momentum=0.9), "motivation": km.LossStreak(1), **kwargs}
        if callable(settings["optimizer"]):  # to be made in the scope
            settings["optimizer"] = settings["optimizer"]()
        keras.utils.set_random_seed(0)  # for the draws of a sandwich
        model.compile(loss=crossentropy(), metrics=["accuracy"], **settings)
    return model


def state(model):
    model.sync()
    return [np.asarray(v, "float64").tolist() for v in values(model)]


def fitted(epochs=2, **kwargs):
    model, history = pair(**kwargs), km.MotivationHistory()
    found = model.fit(
        X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[history], validation_data=(X, Y)
    )
    decided = {"motivated": np.array(history.levels).tolist(), "losses": np.array(history.losses).tolist()}
    return model, {"logs": found.history, **decided, "examples": list(model.training_cost().examples)}


class Recomputed(keras.layers.Dense):
    def call(self, x):
        return tf.recompute_grad(super().call)(x)


class Projected(keras.layers.Dense):
    def call(self, x):
        self.kernel.assign(keras.ops.clip(self.kernel.value, -0.1, 0.1))
        return super().call(x)


class Compiled(keras.layers.Dense):
    product = None

    def call(self, x):
        self.product = self.product or tf.function(lambda x: tf.matmul(x, self.kernel.value))
        return self.product(x)


LAYERS = {
    "recomputed": lambda: Recomputed(4, name="body"),
    "projected": lambda: Projected(4, name="body"),
    "compiled": lambda: Compiled(4, name="body"),
    "stateful": lambda: keras.Sequential(
        [keras.layers.Reshape((1, 5)), keras.layers.SimpleRNN(4, stateful=True, name="rnn")], name="body"
    ),
}


def refusal(layer):
    """What is said of a pair with such a layer in the motivated model, and whether its weights are as before."""
    with scope():
        models = []
        for _ in range(2):
            inputs = keras.Input((5,), batch_size=4)
            models.append(keras.Model(inputs, keras.layers.Dense(3, name="head")(layer()(inputs))))
        model = km.MotivatedModel(*models, km.WeightsMap.infer(*models, check=False), extension="random")
        model.compile("sgd", crossentropy(), motivation="always")
    before = values(models[0])
    try:
        model.fit(X[:16], Y[:16], batch_size=8, verbose=0)
    except Exception as error:
        same = all(np.array_equal(v, w) for v, w in zip(values(models[0]), before))
        return [str(error), same]
    return ["trained", False]


def late_adams():
    adams = keras.optimizers.Adam(0.01), keras.optimizers.AdamW(0.02)
    return keras.optimizers.MultiOptimizer(km.ExtensionOptimizerMap(*adams))


def mirrored():
    model, report = fitted()
    report["weights"] = state(model)
    model.save(path := os.path.join(sys.argv[2], f"{role}.keras"))
    report["saved"] = [np.asarray(v, "float64").tolist() for v in values(keras.saving.load_model(path, compile=False))]
    _, report["joint"] = fitted(motivated_batch="joint")
    _, report["late"] = fitted(epochs=1, optimizer=late_adams)
    phases = km.Phases((0.2, 2), (0.6, km.LossStreak(1)), (1.0, 3))
    distillation = keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence())
    settings = {"motivation": km.Budget(1.4, phases), "motivated_batch": "sandwich", "distillation": distillation}
    _, report["family"] = fitted(family=True, **settings)
    if role == "one":
        return report
    keras.config.set_dtype_policy("mixed_float16")
    report["mixed_float16"] = fitted(epochs=1)[1]
    keras.config.set_dtype_policy("float32")
    with scope():
        accumulating = pair(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    try:
        accumulating.fit(X, Y, verbose=0)
    except ValueError as error:
        report["accumulating"] = str(error)
    uneven, history = pair(), km.MotivationHistory()
    uneven.fit(X[:9], Y[:9], batch_size=8, shuffle=False, verbose=0, callbacks=[history])
    report["uneven"] = [float(uneven.history.history["loss"][0]), [float(loss) for loss in history.losses]]
    try:
        pair(motivated_batch="joint", distillation=keras.distillation.FeatureDistillation())
    except ValueError as error:
        report["unscaled"] = str(error)
    report["refused"] = {kind: refusal(layer) for kind, layer in LAYERS.items()}
    with_norm, _ = fitted(norm=True)
    report["norm"] = [
        [np.asarray(part).tolist() for part in strategy.experimental_local_results(v.value)]
        for v in with_norm.trainable_variables
    ]
    return report


def worker():
    model = pair()
    try:
        model.fit(X, Y, verbose=0)
    except NotImplementedError as error:
        refused = str(error)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).with_options(options)
    )
    model.make_train_function()

    @tf.function
    def step(batch):
        return strategy.run(model.train_step, args=(batch,))

    logs = []
    for _ in range(2):
        model.reset_metrics()
        for batch in data:
            step(batch)
        logs.append({name: float(value) for name, value in model.get_metrics_result().items()})
    examples = list(model.training_cost().examples)
    return {"refused": refused, "logs": logs, "examples": examples, "weights": state(model)}


print(json.dumps(worker() if role.startswith("worker") else mirrored()))
