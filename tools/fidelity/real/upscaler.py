"""A network that doubles the size of images, from npm's @upscalerjs/default-model: residual dense
blocks (Zhang et al. 2018, https://arxiv.org/abs/1802.08797)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tools.common.packages import Package, Packages

__all__ = ["PACKAGE", "difference", "peak_signal_to_noise", "upscaler"]

L = keras.layers

PACKAGE = Package(
    "npm", "@upscalerjs/default-model", "1.0.0", ("models/*", "assets/*.png", "assets/samples/*")
)
_BLOCKS, _MARGIN = 2, 8


def upscaler(packages: Packages, size: int | None) -> keras.Model:
    """Return the network for images of so many pixels, or of any size, in 0 to 255."""
    tensors = _tensors(packages.folder(PACKAGE) / "models")

    def convolution(x: Any, name: str, activation: str | None = None) -> Any:
        kernel = tensors[f"{name}/kernel"]
        layer = L.Conv2D(
            kernel.shape[-1], kernel.shape[0], padding="same", activation=activation, name=name
        )
        outputs = layer(x)
        layer.set_weights([kernel, tensors[f"{name}/bias"]])
        return outputs

    inputs = keras.Input((size, size, 3))
    shallow = convolution(inputs, "F_m1")
    x = convolution(shallow, "F_0")
    blocks = []
    for number in range(1, _BLOCKS + 1):
        dense = convolution(x, f"F_{number}_1", "relu")
        fused = convolution(L.Concatenate()([x, dense]), f"LFF_{number}")
        x = L.Add()([fused, x])
        blocks.append(x)
    x = convolution(convolution(L.Concatenate()(blocks), "GFF_1"), "GFF_2")
    x = L.Add()([x, shallow])
    x = convolution(convolution(x, "UPN1", "relu"), "UPN2", "relu")
    x = L.UpSampling2D(2)(convolution(x, "UPN3"))
    return keras.Model(inputs, convolution(x, "SR"), name="upscaler")


def difference(packages: Packages) -> float:
    """Return the largest difference, in levels of 256, from the enlarged image that its authors
    publish beside the network."""
    from PIL import Image

    assets = packages.folder(PACKAGE) / "assets"
    image = np.asarray(Image.open(assets / "fixture.png").convert("RGB"), "float32")
    expected = np.asarray(Image.open(assets / "samples/2x/result.png").convert("RGB"), "float32")
    (enlarged,) = upscaler(packages, None).predict(image[None], verbose=0)
    return float(np.abs(np.clip(enlarged, 0, 255) - expected).max())


def peak_signal_to_noise(outputs: np.ndarray, images: np.ndarray) -> float:
    """Return the mean over images of 10 log10(255² / mean squared error), in dB, without the eight
    outermost pixels, as is usual."""
    inner = (slice(None), slice(_MARGIN, -_MARGIN), slice(_MARGIN, -_MARGIN))
    errors = np.square(np.clip(outputs, 0, 255) - images)[inner].mean((1, 2, 3))
    return float(np.mean(20 * np.log10(255) - 10 * np.log10(np.maximum(errors, 1e-9))))


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    """Return the tensors of TensorFlow.js's format: one after the other in a file."""
    (group,) = json.loads((folder / "model.json").read_text())["weightsManifest"]
    content = b"".join((folder / path).read_bytes() for path in group["paths"])
    tensors, start = {}, 0
    for weight in group["weights"]:
        count = int(np.prod(weight["shape"]))
        values = np.frombuffer(content, "<f4", count, start)
        tensors[weight["name"]] = values.reshape(weight["shape"])
        start += values.nbytes
    return tensors
