"""One network in each format: what the file contains, what its runtime computes, and its time
against that of ReLUs. Each in a process of its own: `python -m tools.deployment.matrix ResNet50
onnx`."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from tools.common.networks import RELU_NETWORKS
from tools.common.processes import WorkerFailed, emit, json_lines, quiet
from tools.common.records import decode

SIZE, SLOPES = 224, (0.1, 0.4)

NETWORKS = RELU_NETWORKS[:-4]
"""Networks of `keras.applications` that apply ReLU, except the four largest, which consist of the
same blocks and take another hour."""

FORMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "keras": ("model.keras", {}),
    "saved_model": ("model", {"measure": True}),
    "tflite": ("model.tflite", {"measure": True}),
    "onnx": ("model.onnx", {"measure": True}),
    "onnx, for cpu": ("model.onnx", {"measure": True, "optimize_for": "cpu"}),
    "openvino": ("model.xml", {"measure": True}),
}
"""For each format by name the file and the arguments of `export`."""


@dataclass(frozen=True)
class ExportedNetwork:
    """One network in one format.

    Attributes:
        network: Name of the constructor.
        form: A name of `FORMS`.
        sites: Number of its PReLU layers.
        capped: How many of them have a cap.
        operations: Number of each kind of operation in the file; empty where the format does not
            tell.
        runtime: Name of what ran it.
        difference: Largest difference from Keras, relative to the largest output.
        milliseconds: Time of one sample on one thread; None where it is not measured, like what
            follows.
        ratio: Its time over that of the same network with ReLUs.
        low: Lower quartile of the ratio.
        high: Upper quartile of the ratio.
        size_ratio: Size of the file over that of the network with ReLUs.
        failure: Why there is no file, or "".
    """

    network: str
    form: str
    sites: int = 0
    capped: int = 0
    operations: Mapping[str, int] = field(default_factory=dict)
    runtime: str = ""
    difference: float | None = None
    milliseconds: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    size_ratio: float | None = None
    failure: str = ""


def export_network(network: str, form: str, size: int = SIZE) -> ExportedNetwork:
    """Export a network with random weights, statistics as training leaves them, and a slope for
    each channel; run it and measure it."""
    import keras
    import numpy as np

    import keras_prelu as kp
    from tools.common.lifelike import live_in

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
    file, arguments = FORMS[form]
    result = ExportedNetwork(
        network=network,
        form=form,
        sites=len(sites),
        capped=sum(layer.max_value is not None for layer in sites),
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            export = kp.export(model, Path(folder) / file, samples=x, **arguments)
        except kp.errors.ExportError as error:
            return replace(result, failure=str(error))
    costs = ("milliseconds", "ratio", "low", "high", "size_ratio")
    return replace(
        result,
        operations=export.operations,
        runtime=export.runtime,
        difference=export.difference,
        **{name: getattr(export.cost, name, None) for name in costs},
    )


def export_in_a_process(network: str, form: str) -> ExportedNetwork:
    """Do the same in a process of its own, whose memory is freed with it."""
    try:
        (line,) = json_lines("tools.deployment.matrix", network, form)
    except WorkerFailed as failure:
        if failure.returncode != -signal.SIGKILL:
            raise
        return ExportedNetwork(network=network, form=form, failure="the exporter ran out of memory")
    return decode(line, (ExportedNetwork,))


@click.command()
@click.argument("network")
@click.argument("form", type=click.Choice(list(FORMS)))
def main(network: str, form: str) -> None:
    """Export NETWORK in one FORM and print what came of it."""
    quiet()
    emit(export_network(network, form))


if __name__ == "__main__":
    main()
