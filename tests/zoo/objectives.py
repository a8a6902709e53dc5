"""Stock models of KerasHub with an objective of their own: a `compute_loss`, a `compile`, a `predict_step`.

RetinaNet, SigLIP and BASNet are with their families; here are those whose only point is the objective.
"""

import keras_hub
import numpy as np

from zoo.cases import CLASSES, LENGTH, SIDE, VOCABULARY, Case
from zoo.multimodal import parseq

hub = keras_hub.models


def d_fine(width):
    """Denoising needs labels at construction, and is left out."""
    encoder = hub.HGNetV2Backbone(
        stem_channels=[3, 8, 8],
        stackwise_stage_filters=[
            [8, 8, 16, 1, 3, 3],
            [16, 8, 32, 1, 3, 3],
            [32, 16, 64, 1, 3, 5],
            [64, 16, 64, 1, 3, 5],
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 64, 64],
        embedding_size=8,
        use_learnable_affine_block=True,
        hidden_act="relu",
        image_shape=(64, 64, 3),
        out_features=["stage3", "stage4"],
    )
    backbone = hub.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=0,
        num_labels=CLASSES,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=(64, 64),
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[64, 64],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=width,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=1.0,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=width,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=2,
        out_features=["stage3", "stage4"],
        image_shape=(64, 64, 3),
        seed=0,
    )
    return hub.DFineObjectDetector(backbone, num_classes=CLASSES, bounding_box_format="yxyx", preprocessor=None)


def centers(model, count):
    """Boxes as D-FINE takes them: centers and sizes, relative to the image."""
    rng = np.random.default_rng(0)
    found = rng.uniform(0.3, 0.4, (count, 2, 4)).astype("float32")
    return {"boxes": found, "labels": rng.integers(0, CLASSES, (count, 2))}, "auto"


def reader(layers, heads, mlp=2):
    """Its `compile` asks the preprocessor for the padding; the data are preprocessed already."""
    preprocessor = hub.PARSeqCausalLMPreprocessor(
        keras_hub.layers.PARSeqImageConverter(image_size=(SIDE, SIDE)),
        hub.PARSeqTokenizer(max_label_length=LENGTH),
    )
    return hub.PARSeqCausalLM(preprocessor, parseq(layers, heads, mlp), num_perms=2, seed=0)


def tokens(model, count):
    """With the weights that its preprocessor gives, without which its loss fails."""
    y = np.random.default_rng(0).integers(0, VOCABULARY - 2, (count, LENGTH))
    return y, np.ones((count, LENGTH), "bool"), "auto"


CASES = [
    Case("KerasHub", "DFine", "ObjectDetector", "MLP width", d_fine, ((16,), (24,)), centers),
    Case("KerasHub", "PARSeq", "CausalLM", "MLP width", reader, ((1, 2), (1, 2, 3)), tokens),
]
