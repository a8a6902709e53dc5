"""With seeds, and the backend's own switch for deterministic operations, two runs are the same to the bit."""

import json

import numpy as np
import pytest
from processes import run

# In a process of its own, with more than one thread: the switch of TensorFlow cannot be turned back.
TWICE = """
import json, sys
import keras, numpy as np
from keras import layers
from helpers import images, numpy
import keras_motivation as km

backend = keras.backend.backend()
if backend == "tensorflow":
    import tensorflow as tf
    tf.config.experimental.enable_op_determinism()
elif backend == "torch":
    import torch
    torch.use_deterministic_algorithms(True)

def net(width, blocks):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    for i in range(blocks):
        y = layers.ReLU()(layers.BatchNormalization(name=f"norm{i}")(x))
        y = layers.Conv2D(width, 3, padding="same", name=f"conv{i}")(y)
        x = layers.Add()([x, layers.Dropout(0.2, name=f"drop{i}")(y)])
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x)))

def run(seed):
    keras.utils.set_random_seed(seed)
    model = km.MotivatedModel(net(8, 1), net(12, 2))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(0.01), loss, metrics=["accuracy"], motivation=km.LossStreak(1))
    x, y = images(batches=6, batch=16)
    batches = km.MotivationHistory()
    history = model.fit(x, y, batch_size=16, epochs=3, validation_data=(x, y), verbose=0, callbacks=[batches])
    flags = [*batches.motivated]
    assert 0 < sum(flags) < len(flags)
    return [np.array(flags), *(numpy(v) for v in [*model.variables, *model.optimizer.variables])], history.history

states, histories = zip(*(run(seed) for seed in (1, 1, 2)))
for i, state in enumerate(states):
    np.savez(f"{sys.argv[1]}/{i}.npz", *state)
print(json.dumps(histories))
"""


@pytest.mark.slow
def test_two_runs_are_the_same_to_the_bit(tmp_path):
    said = run(TWICE, tmp_path, OMP_NUM_THREADS="2", TF_NUM_INTRAOP_THREADS="2")
    once, again, other = json.loads(said.splitlines()[-1])
    assert once == again
    assert once != other
    first, second, third = ([*np.load(tmp_path / f"{i}.npz").values()] for i in range(3))
    assert len(first) > 60
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[1], third[1])
