"""KerasHub's families for text: encoders, decoders, and those with both."""

import keras_hub

from zoo.cases import LENGTH, VOCABULARY, Case, family, task

hub = keras_hub.models

# (layers, heads): each head has 8 channels. Wider models have more heads of the same size.
GROWN = {"depth": ((1, 2), (2, 2)), "width": ((1, 2), (1, 3))}
# A bare backbone of another width has other outputs; without a task it can be wider inside only.
BARE = {"depth": ((1, 2), (2, 2)), "MLP width": ((1, 2), (1, 2, 3))}
# Where keys and values are shared between queries, the number of queries for each may not change.
GROUPED = {"depth": ((1, 1), (2, 1)), "width": ((1, 1), (1, 2))}


def encoder(name, **kwargs):
    """An encoder of the usual arguments."""
    cls = getattr(hub, f"{name}Backbone")
    return lambda layers, heads, mlp=2: cls(
        **{
            "vocabulary_size": VOCABULARY,
            "num_layers": layers,
            "num_heads": heads,
            "hidden_dim": 8 * heads,
            "intermediate_dim": 8 * mlp * heads,
            **kwargs,
        }
    )


def grouped(name, **kwargs):
    """A decoder with two heads of queries for each of keys and values."""
    cls = getattr(hub, f"{name}Backbone")
    return lambda layers, groups: cls(
        **{
            "vocabulary_size": VOCABULARY,
            "num_layers": layers,
            "num_query_heads": 2 * groups,
            "num_key_value_heads": groups,
            "hidden_dim": 16 * groups,
            "intermediate_dim": 32 * groups,
            **{name: value(groups) if callable(value) else value for name, value in kwargs.items()},
        }
    )


def tasks(name, backbone, *kinds, **kwargs):
    return {kind: task(getattr(hub, name + kind), backbone, **kwargs) for kind in kinds}


def masked(name, backbone):
    return {"MaskedLM": task(getattr(hub, f"{name}MaskedLM"), backbone)}


def hub_family(name, backbone, grown, *kinds, **kwargs):
    return family("KerasHub", name, backbone, grown, tasks(name, backbone, *kinds), **kwargs)


SHORT = {"max_sequence_length": LENGTH + 2}
MASKED = {"mask_positions": lambda rng, count: rng.integers(0, LENGTH, (count, 2)).astype("int32")}


def encoders() -> list[Case]:
    both = "TextClassifier", "MaskedLM"
    found = []
    for name in ("Bert", "Roberta", "DistilBert", "XLMRoberta"):
        found += hub_family(name, encoder(name, **SHORT), GROWN, *both, inputs=MASKED)
    albert = lambda layers, heads: encoder("Albert", embedding_dim=8, **SHORT)(layers, heads)  # noqa: E731
    found += hub_family("Albert", albert, GROWN, *both, inputs=MASKED)
    found += hub_family("DebertaV3", encoder("DebertaV3", bucket_size=4, **SHORT), GROWN, *both, inputs=MASKED)
    found += hub_family("Electra", electra, BARE)
    fnet = lambda n, h: hub.FNetBackbone(VOCABULARY, n, 8 * h, 16 * h, **SHORT)  # noqa: E731
    found += hub_family("FNet", fnet, GROWN, *both, inputs=MASKED)
    found += hub_family("RoformerV2", encoder("RoformerV2", head_size=8), GROWN, *both, inputs=MASKED)
    esm = encoder("ESM", **SHORT)
    found += hub_family("ESM", esm, GROWN, "ProteinClassifier", "MaskedPLM", inputs=MASKED)
    found += hub_family("XLNet", encoder("XLNet"), BARE)
    return found


def electra(layers, heads, mlp=2):
    return hub.ElectraBackbone(VOCABULARY, layers, heads, 8 * heads, 8, 8 * mlp * heads, **SHORT)


def decoders() -> list[Case]:
    found = []
    for name in ("GPT2", "OPT"):
        found += hub_family(name, encoder(name, **SHORT), GROWN, "CausalLM")
    found += hub_family("GPTNeoX", encoder("GPTNeoX", **SHORT), GROWN, "CausalLM")
    found += hub_family("Bloom", encoder("Bloom"), GROWN, "CausalLM")
    falcon = lambda n, h: hub.FalconBackbone(VOCABULARY, n, h, 8 * h, 16 * h)  # noqa: E731
    found += hub_family("Falcon", falcon, GROWN, "CausalLM")
    for name in ("Llama", "Llama3", "Mistral", "Qwen", "Phi3"):
        found += hub_family(name, grouped(name), GROUPED, "CausalLM")
    tied = grouped("Llama", tie_word_embeddings=True)
    found += family("KerasHub", "Llama, tied embeddings", None, GROUPED, tasks("Llama", tied, "CausalLM"))
    found += hub_family("Qwen3", grouped("Qwen3", head_dim=8), GROUPED, "CausalLM")
    found += hub_family("Gemma", grouped("Gemma", head_dim=8), GROUPED, "CausalLM")
    gemma3 = grouped("Gemma3", head_dim=8, image_size=None)
    found += hub_family("Gemma3", gemma3, GROUPED, "CausalLM")
    experts = {"num_experts": 2, "top_k": 1}
    found += hub_family("Mixtral", grouped("Mixtral", **experts), GROUPED, "CausalLM")
    found += hub_family("GptOss", grouped("GptOss", head_dim=8, **experts), GROUPED, "CausalLM")
    moe = {"moe_intermediate_dim": lambda g: 8 * g, **experts}
    qwen_moe = grouped("QwenMoe", shared_expert_intermediate_dim=lambda g: 8 * g, **moe)
    found += hub_family("QwenMoe", qwen_moe, GROUPED, "CausalLM")
    found += hub_family("Qwen3Moe", grouped("Qwen3Moe", head_dim=8, **moe), GROUPED, "CausalLM")
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": None,
    }
    found += hub_family("Qwen3_5", grouped("Qwen3_5", head_dim=8, **linear), GROUPED, "CausalLM")
    found += hub_family("SmolLM3", smollm, GROUPED, "CausalLM")
    rwkv = lambda n, h: hub.RWKV7Backbone(8 * h, 8, n, VOCABULARY, 16 * h, 4, 4, 4, 4)  # noqa: E731
    found += hub_family("RWKV7", rwkv, GROWN, "CausalLM", inputs={"token_ids": sixteen, "padding_mask": ones})
    return found


def smollm(layers, groups):
    return hub.SmolLM3Backbone(
        vocabulary_size=VOCABULARY,
        hidden_dim=16 * groups,
        intermediate_dim=32 * groups,
        num_layers=layers,
        num_attention_heads=2 * groups,
        num_key_value_heads=groups,
        attention_bias=False,
        attention_dropout=0.0,
        rope_layer_enabled_list=[True] * layers,
        layer_types=["full_attention"] * layers,
        mlp_bias=False,
        layer_norm_epsilon=1e-6,
        max_position_embeddings=LENGTH + 2,
        rope_theta=10000.0,
        partial_rotary_factor=1.0,
    )


def sixteen(rng, count):
    return rng.integers(1, VOCABULARY, (count, 16)).astype("int32")


def ones(rng, count):
    return rng.integers(1, 2, (count, 16)).astype("int32")


def with_both() -> list[Case]:
    found = hub_family("Bart", encoder("Bart", **SHORT), GROWN, "Seq2SeqLM")
    found += hub_family("T5", encoder("T5", key_value_dim=8), GROWN, "Seq2SeqLM")
    found += hub_family("T5Gemma", t5gemma, GROUPED, "Seq2SeqLM")
    edrec = lambda n, h: hub.EdRecBackbone(VOCABULARY, n, n, 8 * h, 16 * h, h)  # noqa: E731
    found += hub_family("EdRec", edrec, GROWN, "Seq2SeqLM")
    return found


def t5gemma(layers, groups):
    sides = {}
    for side in ("encoder", "decoder"):
        sides |= {
            f"{side}_hidden_dim": 16 * groups,
            f"{side}_intermediate_dim": 32 * groups,
            f"{side}_num_layers": layers,
            f"{side}_num_attention_heads": 2 * groups,
            f"{side}_num_key_value_heads": groups,
            f"{side}_head_dim": 8,
            f"{side}_layer_types": ["full_attention"] * layers,
        }
    return hub.T5GemmaBackbone(VOCABULARY, cross_attention_hidden_size=16 * groups, query_pre_attn_scalar=8.0, **sides)


CASES = encoders() + decoders() + with_both()
