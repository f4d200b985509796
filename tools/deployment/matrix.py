"""One network in all formats: what is in the file, what its runtime makes of it, and how long that
takes beside ReLUs."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

SIZE, SLOPES = 224, (0.1, 0.4)

NETWORKS = (
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
)
"""Those of `keras.applications` that apply ReLU, but for the four deepest, which are made of the
same blocks and take another hour."""

FORMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "keras": ("model.keras", {}),
    "saved_model": ("model", {"measure": True}),
    "tflite": ("model.tflite", {"measure": True}),
    "onnx": ("model.onnx", {"measure": True}),
    "onnx, for cpu": ("model.onnx", {"measure": True, "optimize_for": "cpu"}),
    "openvino": ("model.xml", {"measure": True}),
}
"""By name: the path, and the arguments of `export`."""


@dataclass(frozen=True)
class Row:
    """One network in one format.

    Attributes:
        network: The constructor's name.
        form: A name of `FORMS`.
        sites: Its PReLU layers.
        capped: How many of them have a cap.
        operations: How often each kind is in the file; empty where the format doesn't tell.
        runtime: What ran it.
        difference: The largest to Keras, relative to the largest output.
        milliseconds: Of one sample on one thread; None where that isn't measured, like what
            follows.
        ratio: Of that to the same network with ReLUs.
        low: Lower quartile of the ratio.
        high: Upper quartile of the ratio.
        size_ratio: Of the files.
        failure: Why there is no file, or "".
    """

    network: str
    form: str
    sites: int
    capped: int
    operations: Mapping[str, int]
    runtime: str
    difference: float | None
    milliseconds: float | None
    ratio: float | None
    low: float | None
    high: float | None
    size_ratio: float | None
    failure: str


def row_of(network: str, form: str, size: int = SIZE) -> Row:
    """A network in one form, with random weights, statistics as training leaves them, and a slope
    for each channel."""
    import keras
    import numpy as np

    import keras_prelu as kp
    from tools.zoo.lifelike import live_in

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    constructor = getattr(keras.applications, network)
    original = live_in(
        constructor(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    )
    model = kp.convert(original, rescale="none", parameterization="identity")
    sites = [layer for layer in model.layers if isinstance(layer, kp.PReLU)]
    for layer in sites:
        layer.beta.assign(rng.uniform(*SLOPES, layer.beta.shape))
    x = rng.normal(size=(8, size, size, 3)).astype("float32")
    capped, (name, arguments) = sum(layer.max_value is not None for layer in sites), FORMS[form]
    with tempfile.TemporaryDirectory() as folder:
        try:
            export = kp.export(model, Path(folder) / name, samples=x, **arguments)
        except kp.errors.ExportError as error:
            return _failed(network, form, len(sites), capped, str(error))
    cost = [
        getattr(export.cost, name, None)
        for name in ("milliseconds", "ratio", "low", "high", "size_ratio")
    ]
    return Row(
        network,
        form,
        len(sites),
        capped,
        export.operations,
        export.runtime,
        export.difference,
        *cost,
        "",
    )


def _failed(network: str, form: str, sites: int, capped: int, reason: str) -> Row:
    return Row(network, form, sites, capped, {}, "", None, None, None, None, None, None, reason)


def row_of_a_process(network: str, form: str, size: int = SIZE) -> Row:
    """The same for one form, in a process of its own, whose memory goes with it."""
    command = [sys.executable, "-m", "tools.deployment.matrix", network, form, str(size)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == -signal.SIGKILL:
        return _failed(network, form, 0, 0, "the exporter ran out of memory")
    if result.returncode:
        raise click.ClickException(f"Exporting {network} failed:\n{result.stderr}")
    return next(
        Row(**json.loads(line)) for line in result.stdout.splitlines() if line.startswith("{")
    )


@click.command()
@click.argument("network")
@click.argument("form", type=click.Choice(list(FORMS)))
@click.argument("size", type=int)
def main(network: str, form: str, size: int) -> None:
    """Print a row as a line of JSON."""
    warnings.simplefilter("ignore")
    click.echo(json.dumps(dataclasses.asdict(row_of(network, form, size))))


if __name__ == "__main__":
    main()
