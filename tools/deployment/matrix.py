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


@dataclass(frozen=True)
class Form:
    """How a network is exported.

    Attributes:
        file: The name of the file or folder.
        arguments: Arguments of `export`.
        one_slope: Whether each layer has one slope and no cap, as `profile="deployment"` makes them
            where caps clip next to nothing. Otherwise each channel has a slope and caps are kept.
    """

    file: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    one_slope: bool = False


_CHANNEL_WISE = {
    "saved_model": Form("model"),
    "saved_model, frozen": Form("model", {"frozen": True}),
    "tflite": Form("model.tflite"),
    "onnx": Form("model.onnx"),
    "onnx, for cpu": Form("model.onnx", {"optimize_for": "cpu"}),
    "openvino": Form("model.xml"),
}

FORMS: Mapping[str, Form] = {
    "keras": Form("model.keras"),
    **_CHANNEL_WISE,
    **{f"{name}, profile": replace(form, one_slope=True) for name, form in _CHANNEL_WISE.items()},
}
"""The forms by name."""


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
        milliseconds: Processor time of one sample on one thread; None where it is not measured,
            like what follows.
        ratio: Its time over that of the original network, which has ReLUs.
        low: Lower quartile of the ratio.
        high: Upper quartile of the ratio.
        size_ratio: Size of the file over that of the original network.
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


@dataclass(frozen=True)
class ExportedFiles:
    """The files of a network with PReLUs and of its original.

    Attributes:
        path: Path of the network with PReLUs.
        reference: Path of the original, which has ReLUs, or None if it was not exported.
        format: Name of the format.
        samples: Array. Eight images.
        model: `keras.Model` with PReLUs.
        sites: Number of its PReLU layers.
        capped: How many of them have a cap.
        export: `Export` of the network with PReLUs, or None if there is no file.
        failure: Why there is no file, or "".
    """

    path: Path
    reference: Path | None
    format: str
    samples: Any
    model: Any
    sites: int
    capped: int
    export: Any
    failure: str = ""


def exported_files(network: str, form: str, folder: Path, size: int = SIZE) -> ExportedFiles:
    """Export a network with random weights and statistics as training leaves them, and its
    original."""
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
    settings = FORMS[form]
    model = kp.convert(
        original,
        rescale="none",
        parameterization="identity",
        shared_axes="channel_shared" if settings.one_slope else "channel_wise",
    )
    sites = [layer for layer in model.layers if isinstance(layer, kp.PReLU)]
    for layer in sites:
        layer.beta.assign(rng.uniform(*SLOPES, layer.beta.shape))
        layer.max_value = None if settings.one_slope else layer.max_value
    x = rng.normal(size=(8, size, size, 3)).astype("float32")
    files = ExportedFiles(
        path=folder / settings.file,
        reference=None,
        format="",
        samples=x,
        model=model,
        sites=len(sites),
        capped=sum(layer.max_value is not None for layer in sites),
        export=None,
    )
    try:
        export = kp.export(model, files.path, samples=x, **settings.arguments)
        files = replace(files, export=export, format=export.format)
        if export.format == "keras":
            return files
        reference = folder / "original" / settings.file
        reference.parent.mkdir()
        kp.export(original, reference, samples=x, **settings.arguments)
    except kp.errors.ExportError as error:
        return replace(files, failure=str(error))
    return replace(files, reference=reference)


def export_network(network: str, form: str, size: int = SIZE) -> ExportedNetwork:
    """Export a network, run it and measure it beside the original."""
    from keras_prelu.deployment.benchmark import measure_cost
    from keras_prelu.deployment.formats.base import Interface
    from keras_prelu.deployment.formats.registry import FORMATS as FORMATS_BY_NAME

    with tempfile.TemporaryDirectory() as folder:
        files = exported_files(network, form, Path(folder), size)
        result = ExportedNetwork(
            network=network,
            form=form,
            sites=files.sites,
            capped=files.capped,
            failure=files.failure,
        )
        if files.failure:
            return result
        cost = None
        if files.reference is not None:
            cost = measure_cost(
                FORMATS_BY_NAME[files.format](),
                files.path,
                files.reference,
                files.samples,
                Interface.of_model(files.model),
            )
    costs = ("milliseconds", "ratio", "low", "high", "size_ratio")
    return replace(
        result,
        operations=files.export.operations,
        runtime=files.export.runtime,
        difference=files.export.difference,
        **{name: getattr(cost, name, None) for name in costs},
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
