"""KerasCV's families, by their plain classes: its alias constructors fetch their sizes from the network."""

import keras_cv
import numpy as np

from zoo.cases import CLASSES, Case, family

cv = keras_cv.models
COMMON = {"include_rescaling": True, "input_shape": (16, 16, 3)}
LARGER = {"include_rescaling": True, "input_shape": (32, 32, 3)}


def resnet(name, kind):
    return lambda blocks, width: getattr(cv, name)(
        stackwise_filters=[64, width], stackwise_blocks=blocks, stackwise_strides=[1, 2], block_type=kind, **COMMON
    )


def stages(**kwargs):
    return {
        "stackwise_kernel_sizes": [3, 3],
        "stackwise_num_repeats": [1, 2],
        "stackwise_input_filters": [32, 16],
        "stackwise_output_filters": [16, 32],
        "stackwise_expansion_ratios": [1, 4],
        "stackwise_strides": [1, 2],
        **COMMON,
        **kwargs,
    }


def efficientnet(name, **kwargs):
    cls = getattr(cv, name)
    return lambda depth, width: cls(depth_coefficient=depth, width_coefficient=width, **stages(**kwargs))


def classified(backbone, cls="ImageClassifier"):
    build = getattr(cv, cls)
    return {cls: lambda *size: build(backbone=backbone(*size), num_classes=CLASSES, activation=None)}


def csp_darknet(depth, width):
    return cv.CSPDarkNetBackbone(stackwise_channels=[8, 16, width], stackwise_depth=[1, 1, depth], **LARGER)


def yolo(depth, width):
    return cv.YOLOV8Backbone(stackwise_channels=[8, 16, width], stackwise_depth=[1, 1, depth], **LARGER)


def densenet(repeats, growth):
    return cv.DenseNetBackbone(stackwise_num_repeats=[repeats, 2], growth_rate=growth, **COMMON)


def mit(depth, width):
    return cv.MiTBackbone(depths=[depth, 1, 1, 1], embedding_dims=[8, 16, 40, width], **LARGER)


def mobilenet(blocks, alpha):
    return cv.MobileNetV3Backbone(
        stackwise_expansion=[1, *[4] * blocks],
        stackwise_filters=[16, *[24] * blocks],
        stackwise_kernel_size=[3] * (blocks + 1),
        stackwise_stride=[2, *[1] * blocks],
        stackwise_se_ratio=[0.25, *[None] * blocks],
        stackwise_activation=["relu"] * (blocks + 1),
        alpha=alpha,
        **COMMON,
    )


def vit_det(depth, mlp):
    return cv.ViTDetBackbone(
        patch_size=4,
        embed_dim=8,
        depth=depth,
        mlp_dim=mlp,
        num_heads=2,
        out_chans=4,
        window_size=2,
        global_attention_indices=[0],
        **COMMON,
    )


def video_swin(depths, heads):
    return cv.VideoSwinBackbone(
        input_shape=(2, 16, 16, 3),
        embed_dim=8 * heads,
        patch_size=[2, 4, 4],
        window_size=[2, 2, 2],
        depths=depths,
        num_heads=[heads, 2 * heads],
    )


def segformer(depth, width):
    return cv.SegFormer(backbone=mit(depth, width), num_classes=CLASSES, projection_filters=8)


def deeplab(blocks, width):
    backbone = cv.ResNetV2Backbone(
        stackwise_filters=[64, 64, 64, width],
        stackwise_blocks=[2, 2, 2, blocks],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        **LARGER,
    )
    return cv.DeepLabV3Plus(backbone=backbone, num_classes=CLASSES, projection_filters=4)


def cases():
    found = []
    blocks = {"depth": (([2, 2], 16), ([3, 4], 16)), "width": (([2, 2], 16), ([2, 2], 24))}
    for name in ("ResNetBackbone", "ResNetV2Backbone"):
        for kind in ("basic_block", "block"):
            build = resnet(name, kind)
            label = name.removesuffix("Backbone") + (" bottleneck" if kind == "block" else "")
            found += family("KerasCV", label, build, blocks, classified(build))
    factors = {"depth": ((1.0, 1.0), (1.6, 1.0)), "width": ((1.0, 1.0), (1.0, 1.5))}
    squeezed = {"stackwise_squeeze_and_excite_ratios": [0.25, 0.25]}
    v1, lite = efficientnet("EfficientNetV1Backbone", **squeezed), efficientnet("EfficientNetLiteBackbone")
    v2 = efficientnet("EfficientNetV2Backbone", stackwise_conv_types=["fused", "unfused"], **squeezed)
    for name, build in {"EfficientNetV1": v1, "EfficientNetLite": lite, "EfficientNetV2": v2}.items():
        found += family("KerasCV", name, build, factors, classified(build))
    layers = {"depth": ((1, 32), (2, 32)), "width": ((1, 32), (1, 48))}
    for name, build in {"CSPDarkNet": csp_darknet, "YOLOV8": yolo}.items():
        found += family("KerasCV", name, build, layers, classified(build))
    found += family(
        "KerasCV", "DenseNet", densenet, {"depth": ((1, 8), (2, 8)), "width": ((1, 8), (1, 12))}, classified(densenet)
    )
    tokens = {"depth": ((1, 64), (2, 64)), "width": ((1, 64), (1, 96))}
    found += family("KerasCV", "MiT", mit, tokens, classified(mit))
    found += family(
        "KerasCV",
        "MobileNetV3",
        mobilenet,
        {"depth": ((1, 1.0), (2, 1.0)), "width": ((1, 1.0), (1, 1.5))},
        classified(mobilenet),
    )
    found += family(
        "KerasCV",
        "ViTDet",
        vit_det,
        {"depth": ((1, 16), (2, 16)), "MLP width": ((1, 16), (1, 24))},
        classified(vit_det),
    )
    swins = {"depth": (([1, 1], 1), ([2, 3], 1)), "width": (([1, 1], 1), ([1, 1], 2))}
    found += family("KerasCV", "VideoSwin", video_swin, swins, classified(video_swin, "VideoClassifier"))
    found += family("KerasCV", "SegFormer", None, tokens, {"segmenter": segformer})
    found += family("KerasCV", "DeepLabV3Plus", None, {"depth": ((2, 64), (3, 64))}, {"segmenter": deeplab})
    return found


def yolo_detector(depth, width):
    return cv.YOLOV8Detector(
        num_classes=CLASSES, bounding_box_format="xyxy", backbone=deep_yolo(depth, width), fpn_depth=1
    )


def deep_yolo(depth, width):
    return cv.YOLOV8Backbone(
        stackwise_channels=[8, 16, 16, width],
        stackwise_depth=[1, 1, 1, depth],
        include_rescaling=True,
        input_shape=(64, 64, 3),
    )


def retinanet(blocks, width):
    backbone = cv.ResNetV2Backbone(
        stackwise_filters=[64, 64, 64, width],
        stackwise_blocks=[2, 2, 2, blocks],
        stackwise_strides=[1, 2, 2, 2],
        block_type="basic_block",
        include_rescaling=True,
        input_shape=(64, 64, 3),
    )
    return cv.RetinaNet(backbone, CLASSES, bounding_box_format="xyxy")


def boxes(model, count):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (count, 2, 2))
    found = np.concatenate([corners, corners + rng.uniform(10, 30, (count, 2, 2))], axis=-1)
    return {"boxes": found.astype("float32"), "classes": rng.integers(0, CLASSES, (count, 2)).astype("float32")}, "auto"


class Images(Case):
    """Its users pass the images, though its graph takes a dictionary."""

    def data(self, model, count):
        x, *rest = super().data(model, count)
        return x["images"], *rest


def detectors():
    grown = {"depth": ((1, 16), (2, 16)), "width": ((1, 16), (1, 32))}
    losses = {"classification_loss": "binary_crossentropy", "box_loss": "ciou"}
    found = family("KerasCV", "YOLOV8", None, grown, {"Detector": yolo_detector}, target=boxes, compiled=losses)
    losses = {"classification_loss": "focal", "box_loss": "smoothl1"}
    found.append(
        Images("KerasCV", "RetinaNet", "detector", "depth", retinanet, ((2, 64), (3, 64)), boxes, compiled=losses)
    )
    return found


CASES = cases() + detectors()
