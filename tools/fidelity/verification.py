"""What share of a conversion's time its verification takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.conversion import rescaling, to_prelu
from tools.fidelity.effort import SAMPLES

_VERIFICATIONS = ((to_prelu, "verify_conversion"), (rescaling, "check_steps"))
"""Modules, and the functions there that verify."""


@dataclass(frozen=True)
class VerificationTime:
    """Time of the verification within one conversion with calibration.

    Attributes:
        network: Name.
        seconds: Seconds of converting and calibrating, without the verification.
        verification: Seconds of the verification.
    """

    network: str
    seconds: float
    verification: float

    @property
    def share(self) -> float:
        return self.verification / self.seconds


def verification_time() -> VerificationTime:
    """Time a conversion of ResNet50 for images of 64 × 64, calibrated on 512 of them."""
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10)
    images = np.random.default_rng(0).normal(size=(SAMPLES, 64, 64, 3)).astype("float32")
    spent: list[float] = []
    start = time.perf_counter()
    with ExitStack() as stack:
        for module, name in _VERIFICATIONS:
            stack.enter_context(mock.patch.object(module, name, _timed(module, name, spent)))
        kp.run_conversion(model, calibration_data=images)
    total = time.perf_counter() - start
    return VerificationTime(network="ResNet50", seconds=total - sum(spent), verification=sum(spent))


def _timed(module: Any, name: str, spent: list[float]) -> Callable[..., Any]:
    function = getattr(module, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - start)

    return timed
