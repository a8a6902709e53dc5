"""A small BERT inside a larger one, both from KerasHub: which standard-library module is this line of source from?

For your own data: fill `texts`, split them with a KerasHub tokenizer, and set `LENGTH` to some hundred. Depth and width
may grow, the size of a head may not. Test accuracy under PyTorch with one seed: base 0.800, motivated 0.800, in 41 s of
one core. A warning says that the extension is not silent: BERT's norms do not allow it.
"""

import argparse
import collections
import pathlib
import re
import sysconfig

import keras
import keras_hub
import numpy as np

import keras_motivation as km

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("output"))
options = parser.parse_args()
MODULES = ["_pydecimal", "argparse", "doctest", "inspect", "mailbox", "tarfile", "turtle", "typing"]
LENGTH, WORDS, HEAD = 24, 4000, 16
# Lines with three words or more, each once. Of every 50 lines in a row, the last 10 are for testing.
texts: tuple[dict[str, int], dict[str, int]] = {}, {}
for label, module in enumerate(MODULES):
    source = pathlib.Path(sysconfig.get_path("stdlib"), f"{module}.py").read_text(encoding="utf-8")
    for number, line in enumerate(source.splitlines()):
        text = " ".join(re.findall(r"\w+|[^\w\s]", line))
        if len(line.split()) >= 3 and text not in texts[0] and text not in texts[1]:
            texts[number % 50 >= 40][text] = label
counts = collections.Counter(word for text in texts[0] for word in text.split())
ids = {word: i for i, (word, _) in enumerate(counts.most_common(WORDS - 2), 2)}  # 0 pads, 1 is any other word


def bert(layers: int, heads: int) -> keras.Model:
    width = heads * HEAD
    backbone = keras_hub.models.BertBackbone(WORDS, layers, heads, width, 2 * width, max_sequence_length=LENGTH)
    return keras_hub.models.BertTextClassifier(backbone, num_classes=len(MODULES))


data = []
for part in texts:
    rows = [[ids.get(word, 1) for word in text.split()] for text in part]
    x = keras.utils.pad_sequences(rows, LENGTH, padding="post", truncating="post")
    data.append(({"token_ids": x, "padding_mask": x > 0, "segment_ids": 0 * x}, np.array(list(part.values()))))
keras.utils.set_random_seed(0)
model = km.MotivatedModel(bert(layers=2, heads=4), bert(layers=3, heads=6))
rate = keras.optimizers.schedules.CosineDecay(1e-3, options.epochs * len(texts[0]) // 64)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.AdamW(rate), loss, metrics=["accuracy"], motivation=km.LossStreak(k=2))
history = model.fit(*data[0], batch_size=64, epochs=options.epochs, validation_data=data[1], verbose=2).history
print(f"Motivated batches: {sum(history['motivated']) / options.epochs:.0%}")
print(f"Test accuracy: base {history['val_accuracy'][-1]:.3f}, motivated {history['val_motivated_accuracy'][-1]:.3f}")
options.output.mkdir(parents=True, exist_ok=True)
model.base.save(options.output / "text_base.keras")
model.motivated.save(options.output / "text_motivated.keras")
