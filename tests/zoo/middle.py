"""KerasHub's families where the base lacks layers in the middle, and Gemma 3n, whose published sizes differ so."""

import functools
import re

import keras
import keras_hub
import numpy as np

import keras_motivation as km
from zoo.cases import LENGTH, SIDE, VOCABULARY, Case, task
from zoo.multimodal import floats, two_towers, whisper
from zoo.text import encoder, grouped

hub = keras_hub.models


def middle(name, build, *blocks, sizes=((2, 2), (4, 2)), **kwargs):
    """The base's two blocks are the first and the last of four, in each of the stacks."""
    first = 1 if name == "ViT" else 0
    rename = {f"{block}_{first + 1}": f"{block}_{first + 3}" for block in blocks}
    kwargs = {
        "task": "backbone",
        "growth": "middle layers",
        "weights_map": functools.partial(by_names, rename),
        **kwargs,
    }
    return Case("KerasHub", name, build=build, sizes=sizes, **kwargs)


def by_names(rename, base, motivated):
    return km.WeightsMap.infer(base, motivated, rename=rename)


def gemma3n(layers, mlp=1, shared=1, sparsity=None):
    """Layers by turns with a sliding window and without; the last ones take keys and values from earlier ones."""
    return hub.Gemma3nBackbone(
        text_vocab_size=VOCABULARY,
        text_hidden_size=16,
        num_hidden_layers=layers,
        pad_token_id=0,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=[8 * mlp] * layers,
        hidden_activation="gelu_approximate",
        layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        sliding_window=4,
        rope_theta=10000.0,
        max_position_embeddings=LENGTH + 2,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=4,
        altup_num_inputs=2,
        laurel_rank=2,
        rms_norm_eps=1e-2,  # a smaller one lets rounding grow tenfold with each batch
        num_kv_shared_layers=shared,
        activation_sparsity_pattern=sparsity and [sparsity] + [0.0] * (layers - 1),
    )


# What the page says of it, and what tests/stock_models/test_stock_faults.py shows.
OUTSIDE = (
    "The fault is KerasHub's: it transposes the tied embedding once, outside of any layer, so that under TensorFlow "
    "and JAX the logits keep its first values"
)
SPARSE = "The sparse activation takes a mean and a deviation over the widened axis"


@keras.saving.register_keras_serializable("zoo")
class TiedHead(keras.layers.Layer):
    """Logits by the embedding of the tokens, as `Gemma3nCausalLM` computes them, but inside of a layer's call."""

    def __init__(self, text_model, **kwargs):
        super().__init__(**kwargs)
        self.text_model = text_model

    def call(self, x):
        return self.text_model.token_embedding(x, reverse=True)


def with_tied_head(*size):
    backbone = gemma3n(*size)
    return keras.Model(backbone.input, TiedHead(backbone.language_model, name="head")(backbone.output))


PACKED = "embed_tokens_per_layer", "per_layer_model_projection"  # their last axis has a part for each layer


def gemma3n_map(base, motivated, left_out=(2, 3)):
    """Of Gemma 3n without layers in the middle. The parts of weights that are packed by layer go with their layers."""
    count = len([layer for layer in motivated._flatten_layers() if re.fullmatch(r"decoder_block_\d+", layer.name)])
    kept = [i for i in range(count) if i not in left_out]
    rename = {f"decoder_block_{i}": f"decoder_block_{j}" for i, j in enumerate(kept)}
    found = km.WeightsMap.infer(base, motivated, rename=rename, check=False)
    parts = np.arange(count * 4).reshape(-1, 4)[kept].ravel()
    entries = [
        (e.base, e.motivated, (*e.index[:-1], parts)) if any(name in e.base.path for name in PACKED) else e
        for e in found.entries
    ]
    return km.WeightsMap(base, motivated, entries)


def gemma3n_cases():
    # The sizes stand to each other as E2B and E4B: layers are left out among those that share keys and values.
    both = ((4, 1, 2), (6, 2, 4))
    case = functools.partial(Case, "KerasHub", "Gemma3n")
    middle_and_labels = {"target": "labels", "weights_map": gemma3n_map}
    causal = task(hub.Gemma3nCausalLM, gemma3n)
    return [
        case("backbone", "MLP width", gemma3n, ((4, 1, 2), (4, 2, 2))),
        case("backbone", "MLP width, sparse", gemma3n, ((4, 1, 2, 0.9), (4, 2, 2, 0.9)), note=SPARSE),
        case("backbone", "middle layers and MLP width", gemma3n, both, weights_map=gemma3n_map),
        case("CausalLM", "MLP width", causal, ((4, 1, 2), (4, 2, 2)), target="labels", note=OUTSIDE),
        case("backbone and tied head", "MLP width", with_tied_head, ((4, 1, 2), (4, 2, 2)), target="labels"),
        case("backbone and tied head", "middle layers and MLP width", with_tied_head, both, **middle_and_labels),
    ]


def text(name, *args, **kwargs):
    return encoder(name, *args, max_sequence_length=LENGTH + 2, **kwargs)


def decoder_cases(name, backbone, narrow, wide):
    """Bare, and as a task that is wider at the same time."""
    lm = task(getattr(hub, f"{name}CausalLM"), backbone)
    more = {"task": "CausalLM", "growth": "middle layers and width", "target": "labels"}
    return [
        middle(name, backbone, "transformer_layer", sizes=((2, narrow), (4, narrow))),
        middle(name, lm, "transformer_layer", sizes=((2, narrow), (4, wide)), **more),
    ]


vit = task(hub.ViTImageClassifier, lambda n, h: hub.ViTBackbone((SIDE, SIDE, 3), 8, n, h, 8 * h, 16 * h))
features = {"encoder_features": floats(16, 8)}

CASES = [
    *decoder_cases("GPT2", text("GPT2"), 1, 2),
    *decoder_cases("Llama", grouped("Llama"), 1, 2),
    middle("ViT", vit, "transformer_block", task="ImageClassifier", target="labels"),
    middle("Bert", text("Bert"), "transformer_layer"),
    middle("CLIP", two_towers("CLIP", projection_dim=8), "encoder_block"),
    middle("Whisper", whisper, "transformer_encoder_layer", "transformer_decoder_layer", inputs=features),
    *gemma3n_cases(),
]
