"""KerasHub's backbones and tasks that apply ReLU, and some that do not, in small configurations
with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

Builder = Callable[[], keras.Model]


def hub() -> Iterator[tuple[str, Builder]]:
    """Yield the name and the builder of each model."""
    from keras_hub import models

    yield from _backbones(models)
    yield from _tasks(models)


def _backbones(models: Any) -> Iterator[tuple[str, Builder]]:
    for version, pre_activation in (("v1", False), ("v2", True)):
        for block in ("basic_block", "bottleneck_block"):
            yield (
                f"ResNetBackbone {version} {block}",
                _bound(_resnet, models, block, pre_activation),
            )
    yield "ResNetBackbone vd", _bound(_resnet, models, "bottleneck_block_vd", False)
    yield (
        "DenseNetBackbone",
        lambda: models.DenseNetBackbone(
            stackwise_num_repeats=[2, 3], image_shape=(32, 32, 3), growth_rate=8
        ),
    )
    yield "VGGBackbone", lambda: models.VGGBackbone([1, 1, 2], [8, 16, 16], image_shape=(32, 32, 3))
    yield (
        "XceptionBackbone",
        lambda: models.XceptionBackbone(
            [[8, 16], [16, 32], [32, 32]], [True, True, False], image_shape=(32, 32, 3)
        ),
    )
    yield "MobileNetBackbone", _bound(_mobilenet, models)
    for light in (False, True):
        yield f"HGNetV2Backbone{' light' if light else ''}", _bound(_hgnet, models, light)
    yield "CSPNetBackbone", _bound(_cspnet, models)
    yield "DeepLabV3Backbone", _bound(_deeplab, models)
    yield "BASNetBackbone", _bound(_basnet, models)
    yield "RetinaNetBackbone", _bound(_retinanet, models)
    yield "SegFormerBackbone", _bound(_segformer, models)
    yield "SAMBackbone", _bound(_sam, models)
    yield "DepthAnythingBackbone", _bound(_depth_anything, models)
    yield "DFineBackbone", _bound(_dfine, models)
    yield "OPTBackbone", lambda: models.OPTBackbone(50, 2, 2, 16, 32, max_sequence_length=16)
    for gated in (False, True):
        yield f"T5Backbone {'gated relu' if gated else 'relu'}", _bound(build_t5, models, gated)
    yield (
        "RoformerV2Backbone",
        lambda: models.RoformerV2Backbone(50, 2, 2, 16, 32, 8, num_segments=10),
    )
    yield "BertBackbone", lambda: models.BertBackbone(50, 2, 2, 16, 32, max_sequence_length=16)
    yield "GPT2Backbone", lambda: models.GPT2Backbone(50, 2, 2, 16, 32, max_sequence_length=16)


def _tasks(models: Any) -> Iterator[tuple[str, Builder]]:
    yield (
        "ResNetImageClassifier",
        lambda: models.ResNetImageClassifier(
            backbone=_resnet(models, "basic_block", False), num_classes=5, preprocessor=None
        ),
    )
    yield (
        "VGGImageClassifier",
        lambda: models.VGGImageClassifier(
            backbone=models.VGGBackbone([1, 1, 1], [8, 16, 16], image_shape=(64, 64, 3)),
            num_classes=5,
            pooling_hidden_dim=16,
            preprocessor=None,
        ),
    )
    yield (
        "HGNetV2ImageClassifier",
        lambda: models.HGNetV2ImageClassifier(
            backbone=_hgnet(models, False), num_classes=5, head_filters=16, preprocessor=None
        ),
    )
    yield (
        "DeepLabV3ImageSegmenter",
        lambda: models.DeepLabV3ImageSegmenter(
            backbone=_deeplab(models), num_classes=3, preprocessor=None
        ),
    )
    yield (
        "BASNetImageSegmenter",
        lambda: models.BASNetImageSegmenter(backbone=_basnet(models), preprocessor=None),
    )
    yield (
        "DistilBertTextClassifier",
        lambda: models.DistilBertTextClassifier(
            backbone=models.DistilBertBackbone(50, 2, 2, 16, 32, max_sequence_length=16),
            num_classes=3,
            hidden_dim=8,
            preprocessor=None,
        ),
    )
    yield (
        "OPTCausalLM",
        lambda: models.OPTCausalLM(
            backbone=models.OPTBackbone(50, 2, 2, 16, 32, max_sequence_length=16), preprocessor=None
        ),
    )


def _bound(build: Callable[..., keras.Model], *args: Any) -> Builder:
    return lambda: build(*args)


def _resnet(models: Any, block: str, pre_activation: bool) -> keras.Model:
    vd = block.endswith("_vd")
    return models.ResNetBackbone(
        input_conv_filters=[8, 8, 64] if vd else [64],
        input_conv_kernel_sizes=[3, 3, 3] if vd else [7],
        stackwise_num_filters=[64, 32, 32],
        stackwise_num_blocks=[1, 2, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type=block,
        use_pre_activation=pre_activation,
        image_shape=(32, 32, 3),
    )


def _resnet_encoder(models: Any, block: str, **arguments: Any) -> keras.Model:
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16, 16, 16],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block,
        **arguments,
    )


def _mobilenet(models: Any) -> keras.Model:
    return models.MobileNetBackbone(
        stackwise_expansion=[[40, 56], [64, 144]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[16, 16], [24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, 0.25], [0.25, 0.25]],
        stackwise_activation=[["relu", "relu6"], ["hard_swish", "relu"]],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=64,
        input_activation="relu",
        output_activation="relu6",
        input_num_filters=16,
        image_shape=(32, 32, 3),
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=32,
        squeeze_and_excite=0.5,
    )


def _hgnet(models: Any, light: bool) -> keras.Model:
    return models.HGNetV2Backbone(
        depths=[1, 1],
        embedding_size=8,
        hidden_sizes=[16, 32],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=light,
        stackwise_stage_filters=[(8, 8, 16, 1, 2, 3), (16, 16, 32, 1, 2, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, light],
        image_shape=(32, 32, 3),
    )


def _cspnet(models: Any) -> keras.Model:
    return models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 1],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[16, 16],
        stage_type="dark",
        block_type="dark_block",
        image_shape=(32, 32, 3),
    )


def _deeplab(models: Any) -> keras.Model:
    return models.DeepLabV3Backbone(
        image_encoder=_resnet(models, "basic_block", False),
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[2, 4],
        projection_filters=8,
        image_shape=(32, 32, 3),
    )


def _basnet(models: Any) -> keras.Model:
    encoder = _resnet_encoder(models, "basic_block")
    return models.BASNetBackbone(
        image_encoder=encoder, num_classes=1, image_shape=(64, 64, 3), projection_filters=64
    )


def _retinanet(models: Any) -> keras.Model:
    encoder = _resnet_encoder(models, "bottleneck_block", image_shape=(128, 128, 3))
    return models.RetinaNetBackbone(
        image_encoder=encoder, min_level=3, max_level=5, use_p5=False, image_shape=(128, 128, 3)
    )


def _segformer(models: Any) -> keras.Model:
    encoder = models.MiTBackbone(
        image_shape=(64, 64, 3),
        num_layers=2,
        hidden_dims=[8, 16],
        layerwise_depths=[1, 1],
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        max_drop_path_rate=0.1,
    )
    return models.SegFormerBackbone(image_encoder=encoder, projection_filters=16)


def _sam(models: Any) -> keras.Model:
    import keras_hub

    return models.SAMBackbone(
        image_encoder=models.ViTDetBackbone(
            hidden_size=16,
            num_layers=2,
            intermediate_dim=32,
            num_heads=2,
            global_attention_layer_indices=[1],
            patch_size=16,
            num_output_channels=8,
            window_size=2,
            image_shape=(64, 64, 3),
        ),
        prompt_encoder=keras_hub.layers.SAMPromptEncoder(
            hidden_size=8,
            image_embedding_size=(4, 4),
            input_image_size=(64, 64),
            mask_in_channels=16,
        ),
        mask_decoder=keras_hub.layers.SAMMaskDecoder(
            num_layers=2,
            hidden_size=8,
            intermediate_dim=32,
            num_heads=2,
            embedding_dim=8,
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=8,
        ),
    )


def _depth_anything(models: Any) -> keras.Model:
    encoder = models.DINOV2Backbone(
        patch_size=14,
        num_layers=4,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=32,
        image_shape=(140, 140, 3),
        position_embedding_shape=(140, 140),
    )
    return models.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 8, 16, 16],
        fusion_hidden_dim=16,
        head_hidden_dim=8,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


def _dfine(models: Any) -> keras.Model:
    encoder = models.HGNetV2Backbone(
        stem_channels=[3, 8, 8],
        stackwise_stage_filters=[
            [8, 8, 16, 1, 1, 3],
            [16, 8, 32, 1, 1, 3],
            [32, 16, 64, 1, 1, 3],
            [64, 16, 64, 1, 1, 3],
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
    return models.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=0,
        num_labels=4,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=5,
        anchor_image_size=(64, 64),
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[64, 64],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=32,
        num_encoder_layers=1,
        hidden_expansion=0.34,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=2,
        out_features=["stage3", "stage4"],
        image_shape=(64, 64, 3),
    )


def build_t5(models: Any, gated: bool, layers: int = 2) -> keras.Model:
    """Return a T5 backbone of so many layers in its encoder and its decoder."""
    return models.T5Backbone(
        vocabulary_size=50,
        num_layers=layers,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        activation="relu",
        use_gated_activation=gated,
    )
