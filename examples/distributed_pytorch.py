"""Trains a pair in several processes under PyTorch: replicas make the same updates, as in DistributedDataParallel.

On one machine with N GPUs (without GPUs, the processes share the CPU):

    KERAS_BACKEND=torch torchrun --nproc-per-node N examples/distributed_pytorch.py

On several machines, run on each of them, R being 0, 1, ... and HOST the address of the first:

    KERAS_BACKEND=torch torchrun --nnodes M --node-rank R --nproc-per-node N --rdzv-backend c10d \\
        --rdzv-endpoint HOST:29500 examples/distributed_pytorch.py

For your own training, copy `ReplicatedPair`. Started with `python` alone, it trains in one process on the same batches.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import keras
import torch
import torch.distributed as dist
from keras import layers
from sklearn.datasets import load_digits
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import keras_motivation as km


@keras.saving.register_keras_serializable("distributed_pytorch")
class ReplicatedPair(km.MotivatedModel):
    """A pair with one replica per process. All replicas start equal and train on the mean gradients of all processes.

    The condition receives the mean loss, so all replicas train the same model. Each process passes its own part of a
    global batch. All processes need batches of the same size, and the same number of batches.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """As in Keras. All processes begin with the state of process 0."""
        if dist.is_initialized() and self.motivation is not None:
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
            # Not the random seeds of the models, so that dropout differs between processes.
            parts = [self.motivation, self.trained_examples, self.update_window, self.optimizer]
            for variable in [*self.weights, *(v for part in parts for v in part.variables)]:
                dist.broadcast(variable.value.data, src=0)
        return super().fit(*args, **kwargs)

    def mean_over_replicas(self, tensors: list[Any]) -> None:
        """Averages gradients, loss and batch-norm statistics, which each process has from its own examples."""
        if dist.is_initialized():
            statistics = [v.value for v in self.weights if v.name in ("moving_mean", "moving_variance")]
            tensors = tensors + statistics
            vector = parameters_to_vector(tensors)  # one message instead of hundreds
            dist.all_reduce(vector)
            vector /= dist.get_world_size()
            for tensor, mean in zip(tensors, vector.split([tensor.numel() for tensor in tensors])):
                tensor.copy_(mean.view_as(tensor))


def resnet(blocks: int, width: int, norm: bool) -> keras.Model:
    """One stage of residual blocks; the names of the layers say which weight is which across sizes."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    for i in range(blocks):
        y = layers.BatchNormalization(momentum=0.9, name=f"norm{i}")(x) if norm else x
        y = layers.Conv2D(width, 3, padding="same", name=f"conv{i}")(layers.Activation("relu")(y))
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(x), name=f"resnet_{blocks}_{width}")


def main() -> None:
    """Trains, prints and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64, help="examples in a global batch, over all processes")
    parser.add_argument("--without-norm", action="store_true", help="leave out batch norm, which normalises by process")
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args()

    if "RANK" in os.environ:  # torchrun set it
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    digits = load_digits()  # 1,797 images of 8x8 pixels with values up to 16
    images = torch.tensor(digits.images[..., None] / 16, dtype=torch.float32, device="cpu")
    labels = torch.tensor(digits.target, device="cpu")
    train = TensorDataset(images[:1280], labels[:1280])
    sampler: DistributedSampler = DistributedSampler(train, processes, rank)  # gives each process its part
    loader = DataLoader(train, options.batch // processes, sampler=sampler, drop_last=True)
    reshuffle = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: sampler.set_epoch(epoch))

    keras.utils.set_random_seed(rank)  # process 0's weights go to all; dropout differs
    base, motivated = resnet(1, 8, not options.without_norm), resnet(2, 12, not options.without_norm)
    model = ReplicatedPair(base, motivated)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(0.01), loss, metrics=["accuracy"], motivation=km.LossStreak(k=1))
    record = km.MotivationHistory()
    # All processes validate on all validation data, so that a callback makes the same decision in each of them.
    validation = (images[1280:], labels[1280:])
    history = model.fit(
        loader,
        epochs=options.epochs,
        shuffle=False,  # the sampler shuffles
        validation_data=validation,
        callbacks=[reshuffle, record],
        verbose=2 if rank == 0 else 0,
    ).history

    options.output.mkdir(parents=True, exist_ok=True)
    if rank == 0:
        print(f"Processes: {processes}. Motivated batches: {record.motivated.mean():.0%}")
        accuracies = history["val_accuracy"][-1], history["val_motivated_accuracy"][-1]
        print("Test accuracy: base {:.3f}, motivated {:.3f}".format(*accuracies))
        model.base.save(options.output / "base.keras")
        model.motivated.save(options.output / "motivated.keras")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
