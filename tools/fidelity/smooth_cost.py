"""Time of networks in their runtimes with PReLU in place of their smooth activations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.deployment.benchmark import Cost, measure_cost
from keras_prelu.deployment.formats.base import Interface
from keras_prelu.deployment.formats.registry import FORMATS
from keras_prelu.errors import ExportError
from tools.common.lifelike import live_in

__all__ = ["SmoothCost", "smooth_costs"]

_SLOPES = (0.1, 0.4)
_FILES = ("model.tflite", "model.onnx")
_AXES = {"each channel": "channel_wise", "each layer": "channel_shared"}


@dataclass(frozen=True)
class SmoothCost:
    """The time of a network with PReLUs over that of its original, in one runtime.

    Times are processor times of one sample on one thread, which depend on no weights.

    Attributes:
        network: Name of the constructor in `keras.applications`.
        size: Pixels of the images.
        sites: Number of smooth activations.
        slopes: What has a slope: "each channel" or "each layer".
        runtime: Name of what ran the files.
        milliseconds_original: Time of the original.
        ratio: Median over rounds of the ratio of the two times in a round.
        low: Lower quartile of the ratio.
        high: Upper quartile of the ratio.
        difference: Largest difference of the file from Keras, relative to the largest output.
    """

    network: str
    size: int
    sites: int
    slopes: str
    runtime: str
    milliseconds_original: float
    ratio: float
    low: float
    high: float
    difference: float


def smooth_costs(network: str, size: int) -> Iterator[SmoothCost]:
    """Export a network with random weights, and with PReLUs of either kind, and time them."""
    keras.utils.set_random_seed(0)
    constructor = getattr(keras.applications, network)
    original = live_in(
        constructor(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    )
    samples = np.random.default_rng(0).normal(size=(8, size, size, 3)).astype("float32")
    for slopes, axes in _AXES.items():
        conversion = kp.run_conversion(
            original,
            include=kp.sites.SMOOTH,
            alpha=0.25,
            rescale="none",
            parameterization="identity",
            shared_axes=axes,
            verify=False,
        )
        _draw_slopes(conversion.model)
        for file in _FILES:
            try:
                export, cost = _timed(conversion.model, original, file, samples)
            except ExportError as error:  # tf2onnx can't write ConvNeXt's grouped convolutions.
                click.echo(f"{network}: {error}", err=True)
                continue
            yield SmoothCost(
                network=network,
                size=size,
                sites=len(conversion.sites),
                slopes=slopes,
                runtime=export.runtime,
                milliseconds_original=cost.milliseconds_with_relu,
                ratio=cost.ratio,
                low=cost.low,
                high=cost.high,
                difference=export.difference,
            )


def _draw_slopes(model: keras.Model) -> None:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, kp.PReLU):
            layer.beta.assign(rng.uniform(*_SLOPES, layer.beta.shape))


def _timed(
    model: keras.Model, original: keras.Model, file: str, samples: np.ndarray
) -> tuple[kp.Export, Cost]:
    """Export both networks, and time them in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = folder / "original" / file
        reference.parent.mkdir()
        kp.export(original, reference, samples=samples)
        export = kp.export(model, folder / file, samples=samples)
        format_ = FORMATS[export.format]()
        cost = measure_cost(format_, folder / file, reference, samples, Interface.of_model(model))
    return export, cost
