"""What PReLU does to int8: TensorFlow Lite files of really trained networks with ReLU, and with
PReLU in several ways."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.deployment.formats.base import Interface
from keras_prelu.deployment.formats.tflite import TensorFlowLite
from tools.common.packages import Packages
from tools.fidelity.real import networks as real

__all__ = ["EFFORT", "FORMS", "NETWORKS", "RELU", "REPRESENTATIVE", "TRIAL", "Int8", "int8_forms"]

REPRESENTATIVE = 200
RELU = "ReLU"
_BATCH = 64
_ANY_DIFFERENCE = 1e6
"""A tolerance under which every file is written: what int8 loses is measured here."""


@dataclass(frozen=True)
class QuantizedForm:
    """A form of a network that is quantized.

    Attributes:
        name: Name in the table.
        arguments: Arguments of `convert`; None for the network as it came.
        equalized: Whether `kp.equalize` follows.
    """

    name: str
    arguments: Mapping[str, Any] | None = field(default_factory=dict)
    equalized: bool = False


FORMS = (
    QuantizedForm(RELU, None),
    QuantizedForm("0.1", {"alpha": 0.1}),
    QuantizedForm("0.25", {"alpha": 0.25}),
    QuantizedForm("0.25, equalized", {"alpha": 0.25}, equalized=True),
    QuantizedForm("0.25, profile", {"alpha": 0.25, "profile": "deployment"}),
)

NETWORKS = tuple(
    network
    for network in real.NETWORKS
    if network.name
    in ("plain, Fashion-MNIST", "ResNet, Fashion-MNIST", "EfficientNet-Lite0, emoji")
)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        seeds: Draws of the calibration samples.
        samples: Number of calibration samples, of which some give the ranges.
        test: Most samples to judge by.
    """

    seeds: int = 3
    samples: int = 512
    test: int = 10_000


EFFORT = Effort()
TRIAL = Effort(seeds=1, samples=256, test=200)


@dataclass(frozen=True)
class Int8:
    """One form of a network, on samples that neither its calibration nor its ranges have seen.

    Attributes:
        network: Name.
        form: A name of `FORMS`.
        seed: Seed of the calibration samples.
        metric: Name of what the network is judged by.
        floating: Its value in float32.
        int8: Its value for the int8 file.
        error: Mean squared difference of the int8 file's outputs from float32, over their variance.
        width: Mean over the activations of the range of their outputs, over that of the ReLU
            network's.
    """

    network: str
    form: str
    seed: int
    metric: str
    floating: float
    int8: float
    error: float
    width: float


def int8_forms(
    network: real.RealNetwork,
    packages: Packages,
    effort: Effort,
    stored: Collection[tuple[str, int]] = (),
) -> Iterator[Int8]:
    """Yield the result of each form with each seed, except what is stored.

    Args:
        network: The network, its data and its metric.
        packages: Where they are.
        effort: How much is measured.
        stored: Form and seed of the results that are there.
    """
    assert network.metric is not None
    model, split = network.build(packages), network.data(packages)
    test = split.test.take(slice(0, effort.test))
    for seed in range(effort.seeds):
        chosen = np.random.default_rng(seed).permutation(len(split.train))[: effort.samples]
        x = split.train.take(chosen).x
        widths = _widths(kp.convert(model), x)
        for form in FORMS:
            if (form.name, seed) in stored:
                continue
            changed = _formed(model, form, x)
            floating = changed.predict(test.x, batch_size=_BATCH, verbose=0)
            rounded = _int8_outputs(changed, x[:REPRESENTATIVE], test.x)
            yield Int8(
                network=network.name,
                form=form.name,
                seed=seed,
                metric=network.metric.name,
                floating=network.metric.value(floating, test.y),
                int8=network.metric.value(rounded, test.y),
                error=float(kp.diagnostics.relative_error(rounded, floating)),
                width=1.0 if form.name == RELU else float(np.mean(_widths(changed, x) / widths)),
            )


def _formed(model: keras.Model, form: QuantizedForm, x: np.ndarray) -> keras.Model:
    if form.arguments is None:
        return model
    converted = kp.convert(model, calibration_data=x, **form.arguments)
    if form.equalized:
        kp.equalize(converted)
    return converted


def _int8_outputs(model: keras.Model, samples: np.ndarray, x: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kp.export(model, path, quantize="int8", samples=samples, tolerance=_ANY_DIFFERENCE)
        run = TensorFlowLite().load(path, Interface.of_model(model))
        starts = range(0, len(x), _BATCH)  # TensorFlow Lite holds the activations of all samples.
        return np.concatenate([run(x[start : start + _BATCH])[0] for start in starts])


def _widths(converted: keras.Model, samples: np.ndarray) -> np.ndarray:
    """Return the range of each PReLU's outputs, which an int8 file divides into 255 steps."""
    outputs = [layer.output for layer in converted.layers if isinstance(layer, kp.PReLU)]
    probe, batches = keras.Model(converted.inputs, outputs), range(0, len(samples), _BATCH)
    lows, highs = [], []
    for start in batches:
        values = keras.tree.flatten(probe.predict_on_batch(samples[start : start + _BATCH]))
        lows.append([part.min() for part in values])
        highs.append([part.max() for part in values])
    return np.max(highs, axis=0) - np.min(lows, axis=0)
