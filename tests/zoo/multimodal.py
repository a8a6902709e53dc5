"""KerasHub's families for sound, for images with text, and the like."""

import keras_hub
import numpy as np

from zoo.cases import LENGTH, SIDE, VOCABULARY, family, task

hub = keras_hub.models

GROWN = {"depth": ((1, 2), (2, 2)), "MLP width": ((1, 2), (1, 2, 3)), "width": ((1, 2), (1, 3))}


def two_towers(name, **kwargs):
    """An encoder of images and one of texts, which grow together."""

    def build(layers, heads, mlp=2):
        common = {
            "hidden_dim": 8 * heads,
            "num_layers": layers,
            "num_heads": heads,
            "intermediate_dim": 8 * mlp * heads,
        }
        vision = getattr(hub, f"{name}VisionEncoder")(patch_size=8, image_shape=(SIDE, SIDE, 3), **common)
        text = getattr(hub, f"{name}TextEncoder")(
            vocabulary_size=VOCABULARY, embedding_dim=8 * heads, max_sequence_length=LENGTH, **common
        )
        return getattr(hub, f"{name}Backbone")(vision_encoder=vision, text_encoder=text, **kwargs)

    return build


def whisper(layers, heads, mlp=2):
    return hub.WhisperBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=8 * heads,
        intermediate_dim=8 * mlp * heads,
        num_mels=8,
        max_encoder_sequence_length=16,
        max_decoder_sequence_length=LENGTH,
    )


def moonshine(layers, heads, mlp=2):
    return hub.MoonshineBackbone(
        vocabulary_size=VOCABULARY,
        filter_dim=16,
        encoder_num_layers=layers,
        decoder_num_layers=layers,
        hidden_dim=8 * heads,
        intermediate_dim=8 * mlp * heads,
        encoder_num_heads=heads,
        decoder_num_heads=heads,
        partial_rotary_factor=0.5,
    )


def pali_gemma(layers, groups, mlp=2):
    return hub.PaliGemmaBackbone(
        vocabulary_size=VOCABULARY,
        image_size=SIDE,
        num_layers=layers,
        num_query_heads=2 * groups,
        num_key_value_heads=groups,
        hidden_dim=16 * groups,
        intermediate_dim=16 * mlp * groups,
        head_dim=8,
        vit_patch_size=8,
        vit_num_heads=2,
        vit_hidden_dim=16,
        vit_num_layers=layers,
    )


def depth_anything(layers, heads, mlp=2):
    return hub.DepthAnythingBackbone(
        image_encoder=hub.DINOV2Backbone(
            patch_size=8,
            num_layers=4 * layers,
            hidden_dim=8 * heads,
            num_heads=heads,
            intermediate_dim=8 * mlp * heads,
            image_shape=(64, 64, 3),
            position_embedding_shape=(64, 64, 3),
        ),
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[4, 4, 8, 8],
        fusion_hidden_dim=8,
        head_hidden_dim=4,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


def video_prism(layers, heads, mlp=2):
    return hub.VideoPrismBackbone(
        num_frames=2,
        patch_size=8,
        hidden_dim=8 * heads,
        intermediate_dim=8 * mlp * heads,
        num_heads=heads,
        num_spatial_layers=layers,
        num_temporal_layers=layers,
        num_auxiliary_layers=0,
        image_shape=(SIDE, SIDE, 3),
    )


def parseq(layers, heads, mlp=2):
    return hub.PARSeqBackbone(
        image_encoder=hub.ViTBackbone(
            image_shape=(SIDE, SIDE, 3),
            patch_size=8,
            num_layers=layers,
            num_heads=heads,
            hidden_dim=8 * heads,
            mlp_dim=8 * mlp * heads,
            use_class_token=False,
        ),
        vocabulary_size=VOCABULARY,
        max_label_length=LENGTH,
        decoder_hidden_dim=8 * heads,
        num_decoder_layers=1,
        num_decoder_heads=heads,
        decoder_mlp_dim=16 * heads,
    )


def basnet(blocks, width):
    encoder = hub.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, blocks, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
    )
    return hub.BASNetBackbone(encoder, num_classes=1, image_shape=(64, 64, 3), projection_filters=width)


def floats(*shape):
    return lambda rng, count: rng.normal(size=(count, *shape)).astype("float32")


def own_loss(model, count):
    """No targets: SigLIP tells which image belongs to which text by their places in the batch."""
    return np.zeros((count, 1), "float32"), "auto"


def hub_family(name, backbone, *kinds, **kwargs):
    tasks = {kind: task(getattr(hub, name + kind), backbone) for kind in kinds}
    grown = GROWN if kinds else {growth: GROWN[growth] for growth in ("depth", "MLP width")}
    return family("KerasHub", name, backbone, grown, tasks, **kwargs)


def ones(*shape):
    return lambda rng, count: rng.integers(1, 2, (count, *shape)).astype("int32")


CASES = [
    *hub_family("CLIP", two_towers("CLIP", projection_dim=8)),
    *hub_family("MetaCLIP2", two_towers("MetaCLIP2", projection_dim=8)),
    *hub_family("SigLIP", two_towers("SigLIP"), target=own_loss, batch=True),
    *hub_family("Whisper", whisper, inputs={"encoder_features": floats(16, 8)}),
    *hub_family(
        "Moonshine",
        moonshine,
        "AudioToText",
        batch=True,
        inputs={"encoder_input_values": floats(1024, 1), "encoder_padding_mask": ones(1024)},
    ),
    *hub_family("PaliGemma", pali_gemma, "CausalLM"),
    *hub_family("DepthAnything", depth_anything),
    *hub_family("VideoPrism", video_prism),
    *hub_family("PARSeq", parseq),
    *family(
        "KerasHub",
        "BASNet",
        None,
        {"depth": ((2, 64), (3, 64))},
        {"ImageSegmenter": task(hub.BASNetImageSegmenter, basnet)},
        target="values",
    ),
]
