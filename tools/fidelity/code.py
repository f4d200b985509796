"""Networks whose code calls rectifiers as functions: converted, reloaded, calibrated and converted
back."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_prelu as kp
from tools.common.machine import backend
from tools.fidelity.code_networks import networks, spellings
from tools.fidelity.effort import ALPHA, SAMPLES

CLOSE = 0.01
"""The error that a calibrated network should not exceed."""
_EPOCHS, _RATE = 10, 3e-3
_DISTILLATION_EPOCHS = 32
_ROUNDING = 1e-5
"""The largest difference of a baked network's logits, relative to the largest of them."""


@dataclass(frozen=True, kw_only=True)
class CodeConversion:
    """What became of one network.

    Attributes:
        network: Name of its class.
        function: What its code calls.
        backend: Backend.
        calls: Number of calls of rectifiers in one run of the network.
        converted: Number of sites that are converted by default.
        exact: Whether the outputs of the default conversion are the original's bit for bit.
        reloaded: Whether a file of it computes the same bit for bit.
        error: Mean squared change of the logits by calibrated slopes of 0.25 over their variance,
            on samples that the calibration did not see.
        accuracy: Accuracy of the original on these.
        restored: Whether the default conversion, converted to ReLU again, is of the network's own
            class and computes the same bit for bit; None if it was not tried.
        baked: Whether the calibrated network becomes one of Keras's own layers that computes the
            same up to rounding; None if it was not tried.
        distilled: The error after a distillation, where it is larger than it should be; None
            elsewhere.
    """

    network: str
    function: str
    backend: str
    calls: int
    converted: int
    exact: bool
    reloaded: bool
    error: float
    accuracy: float
    restored: bool | None = None
    baked: bool | None = None
    distilled: float | None = None

    @property
    def passed(self) -> bool:
        """Whether each call became a PReLU layer, and nothing was lost."""
        is_whole = self.converted == self.calls and self.exact and self.reloaded
        return is_whole and self.restored is not False and self.baked is not False


def convert_networks(only: str = "") -> Iterator[CodeConversion]:
    """Train, convert and compare each network with each function."""
    digits = kp.data.load("digits")
    for function, relu in spellings().items():
        for name, (cls, calls) in networks(relu).items():
            if only in name:
                keras.utils.clear_session()
                keras.utils.set_random_seed(0)
                model = _trained(cls(name=name.lower()), digits.train)
                yield _measured(model, name, function, calls, digits)


def _trained(model: keras.Model, samples: kp.data.Samples) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(_RATE), loss)
    model.fit(samples.x, samples.y, epochs=_EPOCHS, batch_size=32, verbose=0)
    return model


def _measured(
    model: keras.Model, name: str, function: str, calls: int, digits: kp.data.Dataset
) -> CodeConversion:
    x = digits.test.x
    expected = keras.ops.convert_to_numpy(model(x))
    conversion = kp.run_conversion(model)
    samples = digits.train.x[:SAMPLES]
    calibrated = kp.convert(model, alpha=ALPHA, calibration_data=samples)
    error = _error(calibrated, x, expected)
    back = kp.convert(conversion.model, to="relu")
    baked = _is_baked(calibrated, x)
    distilled = None
    if error > CLOSE:
        kp.distill(calibrated, model, samples, epochs=_DISTILLATION_EPOCHS)
        distilled = _error(calibrated, x, expected)
    return CodeConversion(
        network=name,
        function=function,
        backend=backend(),
        calls=calls,
        converted=len(conversion.sites),
        exact=np.array_equal(keras.ops.convert_to_numpy(conversion.model(x)), expected),
        reloaded=_is_reloaded(calibrated, x),
        restored=type(back) is type(model)
        and np.array_equal(keras.ops.convert_to_numpy(back(x)), expected),
        baked=baked,
        error=error,
        distilled=distilled,
        accuracy=100 * float(np.mean(expected.argmax(axis=-1) == digits.test.y)),
    )


def _error(model: keras.Model, x: np.ndarray, expected: np.ndarray) -> float:
    return kp.diagnostics.relative_error(keras.ops.convert_to_numpy(model(x)), expected)


def _is_baked(model: keras.Model, x: np.ndarray) -> bool:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Baked as a graph")
        baked = kp.bake(model)
    expected, outputs = (keras.ops.convert_to_numpy(each(x)) for each in (model, baked))
    is_stock = all(type(layer).__module__.startswith("keras.") for layer in baked.layers)
    return is_stock and bool(np.abs(outputs - expected).max() <= _ROUNDING * np.abs(expected).max())


def _is_reloaded(model: keras.Model, x: np.ndarray) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        kp.save_model(model, path)
        loaded = kp.load_model(path)
    outputs = [keras.ops.convert_to_numpy(each(x)) for each in (model, loaded)]
    return np.array_equal(*outputs)
