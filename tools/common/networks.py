"""Networks of `keras.applications` that several tools measure."""

from __future__ import annotations

__all__ = ["RELU_NETWORKS", "smallest_size"]

RELU_NETWORKS = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "ResNet50",
    "ResNet50V2",
    "DenseNet121",
    "Xception",
    "InceptionV3",
    "VGG16",
    "VGG19",
    "NASNetMobile",
    "DenseNet169",
    "DenseNet201",
    "ResNet101",
    "ResNet101V2",
    "InceptionResNetV2",
    "ResNet152",
    "ResNet152V2",
    "NASNetLarge",
)
"""Constructors of all networks that apply ReLU; the last four are the largest."""

_SMALLEST = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}


def smallest_size(network: str, least: int) -> int:
    """Return the smallest height and width, from `least` on, of the images that a network takes."""
    return max(least, _SMALLEST.get(network, 0))
