"""The settings that are compared: a stream, a network, an optimizer, and when the change is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from tools.study.continual import networks, streams
from tools.study.continual.streams import CROSSENTROPY, Stream

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way of going on learning.

    Attributes:
        name: Name in tables.
        stream: Returns the tasks.
        build: Builds the network.
        optimizer: Makes the optimizer.
        learned: Numbers of tasks that the ReLU network learns before something is changed.
        following: Tasks after that, whose errors are measured.
        loss: Keras loss.
    """

    name: str
    stream: Stream
    build: Callable[[], keras.Model]
    optimizer: Callable[[], Any]
    learned: tuple[int, ...] = (10,)
    following: int = 10
    loss: Any = CROSSENTROPY


def _adam(rate: float) -> Callable[[], Any]:
    return lambda: keras.optimizers.Adam(rate)


def _sgd(rate: float) -> Callable[[], Any]:
    return lambda: keras.optimizers.SGD(rate, momentum=0.9)


_STREAMS = {
    "permuted pixels": streams.permuted_pixels,
    "redrawn labels": streams.redrawn_labels,
    "new classes": streams.class_splits,
    "another camera": streams.shifted_images,
    "regressions": streams.regressions,
}
_NETWORKS = {
    "MLP": networks.mlp,
    "convolutions": networks.convolutions,
    "convolutions + BN": networks.normalized,
    "residual": networks.residual,
}
_OPTIMIZERS = {
    "Adam 0.003": _adam(3e-3),
    "Adam 0.001": _adam(1e-3),
    "SGD 0.05": _sgd(0.05),
    "SGD 0.01": _sgd(0.01),
}
_REGRESSION = {"build": networks.regressor, "loss": "mse"}


def _setting(stream: str, network: str, optimizer: str, *note: str, **others: Any) -> Setting:
    """Return the setting that is named by its parts; others replace what they stand for."""
    parts = {
        "stream": _STREAMS[stream],
        "build": _NETWORKS[network],
        "optimizer": _OPTIMIZERS[optimizer],
    }
    return Setting(name=", ".join([stream, network, optimizer, *note]), **{**parts, **others})


SETTINGS = (
    _setting("permuted pixels", "MLP", "Adam 0.003", learned=(1, 10, 30)),
    _setting("permuted pixels", "MLP", "Adam 0.003", "60 tasks", learned=(60,), following=60),
    _setting("permuted pixels", "MLP", "Adam 0.001", learned=(1, 10, 30)),
    _setting("permuted pixels", "MLP", "SGD 0.05"),
    _setting("redrawn labels", "MLP", "Adam 0.001"),
    _setting("redrawn labels", "MLP", "SGD 0.05"),
    _setting("redrawn labels", "convolutions", "Adam 0.001"),
    _setting("redrawn labels", "convolutions + BN", "Adam 0.001"),
    _setting("redrawn labels", "convolutions + BN", "SGD 0.05"),
    _setting("new classes", "convolutions", "Adam 0.001"),
    _setting("new classes", "residual", "Adam 0.001"),
    _setting("new classes", "convolutions + BN", "Adam 0.003"),
    _setting("another camera", "convolutions", "Adam 0.001"),
    _setting("another camera", "convolutions + BN", "Adam 0.001"),
    _setting("another camera", "residual", "Adam 0.003"),
    _setting("another camera", "MLP", "SGD 0.01"),
    _setting("regressions", "MLP", "Adam 0.001", learned=(10, 30), **_REGRESSION),
    _setting("regressions", "MLP", "SGD 0.01", **_REGRESSION),
)
