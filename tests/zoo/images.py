"""KerasHub's families for images: classifiers, segmenters, detectors, and their backbones."""

import keras_hub
import numpy as np

from zoo.cases import CLASSES, SIDE, family, task

hub = keras_hub.models

SHAPE = (SIDE, SIDE, 3)
# (layers, heads): each head has 8 channels. Wider models have more heads of the same size.
GROWN = {"depth": ((1, 2), (2, 2)), "width": ((1, 2), (1, 3))}


def hub_family(name, backbone, grown, *kinds, build=None, **kwargs):
    tasks = {kind: task(getattr(hub, name + kind), backbone, **(build or {})) for kind in kinds}
    return family("KerasHub", name, backbone, grown, tasks, **kwargs)


def resnet(blocks, width, kind="basic_block", **kwargs):
    return hub.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, width],
        stackwise_num_blocks=blocks,
        stackwise_num_strides=[1, 2],
        block_type=kind,
        image_shape=SHAPE,
        **kwargs,
    )


STAGES = {"depth": (([1, 1], 16), ([2, 3], 16)), "width": (([1, 1], 16), ([1, 1], 24))}


def resnets():
    found = []
    variants = {
        "ResNet": {},
        "ResNet bottleneck": {"kind": "bottleneck_block"},
        "ResNetV2": {"use_pre_activation": True},
        "ResNet vd": {"kind": "basic_block_vd"},
    }
    for name, kwargs in variants.items():
        build = lambda blocks, width, kwargs=kwargs: resnet(blocks, width, **kwargs)  # noqa: E731
        kinds = {"ImageClassifier": task(hub.ResNetImageClassifier, build)}
        found += family("KerasHub", name, build, STAGES, kinds)
    return found


def efficientnet(depth, width):
    return hub.EfficientNetBackbone(
        stackwise_width_coefficients=[width] * 2,
        stackwise_depth_coefficients=[depth] * 2,
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[32, 16],
        stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4],
        stackwise_strides=[1, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 2,
        stackwise_block_types=["v1"] * 2,
        stackwise_force_input_filters=[0] * 2,
        stackwise_nores_option=[False] * 2,
        activation="silu",
        include_initial_padding=True,
        use_depth_divisor_as_min_depth=True,
        image_shape=SHAPE,
        num_features=32,
    )


def densenet(layers, growth):
    return hub.DenseNetBackbone(stackwise_num_repeats=[layers, 2], growth_rate=growth, image_shape=SHAPE)


def vgg(blocks, width):
    return hub.VGGBackbone(stackwise_num_repeats=[blocks, 1], stackwise_num_filters=[8, width], image_shape=(32, 32, 3))


def xception(blocks, width):
    return hub.XceptionBackbone(
        stackwise_conv_filters=[[8, 16], *[[16, 16]] * blocks, [16, width]],
        stackwise_pooling=[True, *[False] * blocks, False],
        image_shape=SHAPE,
    )


def cspnet(block_type, stage_type):
    return lambda layers, width: hub.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, layers],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[8, width],
        block_type=block_type,
        stage_type=stage_type,
        **({} if stage_type == "dark" else {"bottle_ratio": [0.5], "block_ratio": [0.5]}),
        image_shape=SHAPE,
    )


def mobilenet(blocks, width):
    return hub.MobileNetBackbone(
        stackwise_expansion=[[16], [32] * blocks],
        stackwise_num_blocks=[1, blocks],
        stackwise_num_filters=[[8], [width] * blocks],
        stackwise_kernel_size=[[3], [3] * blocks],
        stackwise_num_strides=[[1], [2] + [1] * (blocks - 1)],
        stackwise_se_ratio=[[None], [0.25] * blocks],
        stackwise_activation=[["relu"], ["hard_swish"] * blocks],
        stackwise_padding=[[1], [1] * blocks],
        output_num_filters=32,
        depthwise_filters=8,
        depthwise_stride=1,
        depthwise_residual=True,
        last_layer_filter=32,
        squeeze_and_excite=0.5,
        input_num_filters=8,
        image_shape=SHAPE,
    )


def hgnet(layers, width):
    return hub.HGNetV2Backbone(
        depths=[1, layers],
        embedding_size=8,
        hidden_sizes=[16, width],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, width, layers, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=(32, 32, 3),
    )


def convolutional():
    depths = {"depth": ((1.0, 1.0), (1.6, 1.0)), "width": ((1.0, 1.0), (1.0, 1.5))}
    found = hub_family("EfficientNet", efficientnet, depths, "ImageClassifier")
    layers = {"depth": ((1, 8), (2, 8)), "width": ((1, 8), (1, 12))}
    found += hub_family("DenseNet", densenet, layers, "ImageClassifier")
    small = {"pooling_hidden_dim": 16, "dropout": 0.0}
    found += hub_family("VGG", vgg, layers, "ImageClassifier", build=small)
    found += hub_family(
        "Xception", xception, {"depth": ((1, 16), (2, 16)), "width": ((1, 16), (1, 24))}, "ImageClassifier"
    )
    wide = {"depth": ((1, 16), (2, 16)), "width": ((1, 16), (1, 24))}
    for stage, block in (("csp", "dark_block"), ("dark", "dark_block"), ("cs3", "edge_block")):
        build = cspnet(block, stage)
        kinds = {"ImageClassifier": task(hub.CSPNetImageClassifier, build)}
        found += family("KerasHub", f"CSPNet {stage}", build, wide, kinds)
    found += hub_family(
        "MobileNet", mobilenet, {"depth": ((1, 8), (2, 8)), "width": ((1, 8), (1, 16))}, "ImageClassifier"
    )
    v5 = {"depth": ((1, 16), (2, 16)), "width": ((1, 16), (1, 32))}
    found += hub_family("MobileNetV5", mobilenet_v5, v5, "ImageClassifier", build={"head_hidden_size": 16})
    found += hub_family("HGNetV2", hgnet, wide, "ImageClassifier", build={"head_filters": 16})
    return found


def vit(layers, heads):
    return hub.ViTBackbone(
        image_shape=SHAPE, patch_size=8, num_layers=layers, num_heads=heads, hidden_dim=8 * heads, mlp_dim=16 * heads
    )


def transformer(name, **kwargs):
    cls = getattr(hub, f"{name}Backbone")
    return lambda layers, heads, mlp=2: cls(
        image_shape=SHAPE,
        patch_size=kwargs.get("patch_size", 8),
        num_layers=layers,
        num_heads=heads,
        hidden_dim=8 * heads,
        intermediate_dim=8 * mlp * heads,
        **{name: value for name, value in kwargs.items() if name != "patch_size"},
    )


BARE = {"depth": ((1, 2), (2, 2)), "MLP width": ((1, 2), (1, 2, 3))}


def mobilenet_v5(blocks, width):
    same = {
        "act_layers": "relu",
        "exp_ratios": 4.0,
        "se_ratios": 0.0,
        "dw_kernel_sizes": 3,
        "dw_start_kernel_sizes": 0,
        "dw_end_kernel_sizes": 0,
        "exp_kernel_sizes": 3,
        "pw_kernel_sizes": 1,
        "num_heads": 0,
        "key_dims": 0,
        "value_dims": 0,
        "kv_strides": 0,
        "use_cpe": False,
    }
    return hub.MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir"] * blocks],
        stackwise_num_blocks=[1, blocks],
        stackwise_num_filters=[[8], [width] * blocks],
        stackwise_strides=[[2], [2] + [1] * (blocks - 1)],
        use_msfa=False,
        stem_size=8,
        image_shape=SHAPE,
        **{f"stackwise_{name}": [[value], [value] * blocks] for name, value in same.items()},
    )


def vit_det(layers, heads, mlp=2):
    return hub.ViTDetBackbone(
        hidden_size=8 * heads,
        num_layers=layers,
        intermediate_dim=8 * mlp * heads,
        num_heads=heads,
        global_attention_layer_indices=[0],
        image_shape=SHAPE,
        patch_size=4,
        num_output_channels=8,
        window_size=2,
    )


def swin(depths, heads):
    return hub.SwinTransformerBackbone(
        image_shape=(32, 32, 3), embed_dim=8 * heads, depths=depths, num_heads=(heads, 2 * heads), window_size=2
    )


def mit(layers, heads):
    return hub.MiTBackbone(
        layerwise_depths=[layers, 1],
        num_layers=2,
        layerwise_num_heads=[1, heads],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[8, 8 * heads],
    )


def segformer(layers, heads):
    return hub.SegFormerBackbone(image_encoder=mit(layers, heads), projection_filters=8)


def deeplab(blocks, width):
    return hub.DeepLabV3Backbone(
        image_encoder=resnet(blocks, width),
        spatial_pyramid_pooling_key="P3",
        low_level_feature_key="P2",
        upsampling_size=2,
        dilation_rates=[2, 3, 4],
        projection_filters=4,
        image_shape=SHAPE,
    )


def retinanet(blocks, width):
    return hub.RetinaNetBackbone(
        image_encoder=resnet(blocks, width), min_level=2, max_level=3, use_p5=False, image_shape=SHAPE
    )


def transformers():
    found = hub_family("ViT", vit, GROWN, "ImageClassifier")
    found += hub_family("DeiT", transformer("DeiT"), GROWN, "ImageClassifier")
    found += hub_family("DINOV2", transformer("DINOV2", position_embedding_shape=SHAPE, num_register_tokens=1), BARE)
    found += hub_family("DINOV3", transformer("DINOV3", num_register_tokens=1), BARE)
    found += hub_family("ViTDet", vit_det, BARE)
    stages = {"depth": (((1, 1), 1), ((2, 3), 1)), "width": (((1, 1), 1), ((1, 1), 2))}
    found += hub_family("SwinTransformer", swin, stages, "ImageClassifier")
    found += hub_family("MiT", mit, GROWN, "ImageClassifier")
    return found


def boxes(model, count):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, SIDE, (count, 2, 2, 2)), axis=2).reshape(count, 2, 4)
    return {"boxes": corners.astype("float32"), "labels": rng.integers(0, CLASSES, (count, 2))}, "auto"


def dense_predictions():
    found = hub_family("SegFormer", segformer, GROWN, "ImageSegmenter", target=pixels)
    found += hub_family("DeepLabV3", deeplab, STAGES, "ImageSegmenter", target=pixels)
    found += family("KerasHub", "RetinaNet", retinanet, STAGES, {"ObjectDetector": detector}, target=boxes)
    return found


def pixels(model, count):
    from keras import losses

    labels = np.random.default_rng(0).integers(0, CLASSES, (count, *model.output_shape[1:-1]))
    return labels, losses.SparseCategoricalCrossentropy(from_logits=True)


def detector(blocks, width):
    return hub.RetinaNetObjectDetector(
        backbone=retinanet(blocks, width), num_classes=CLASSES, bounding_box_format="xyxy"
    )


CASES = resnets() + convolutional() + transformers() + dense_predictions()
