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


_FAST, _SLOW = _adam(3e-3), _adam(1e-3)

SETTINGS = (
    Setting(
        name="permuted pixels, MLP, Adam 0.003",
        stream=streams.permuted_pixels,
        build=networks.mlp,
        optimizer=_FAST,
        learned=(1, 10, 30),
    ),
    Setting(
        name="permuted pixels, MLP, Adam 0.003, 60 tasks",
        stream=streams.permuted_pixels,
        build=networks.mlp,
        optimizer=_FAST,
        learned=(60,),
        following=60,
    ),
    Setting(
        name="permuted pixels, MLP, Adam 0.001",
        stream=streams.permuted_pixels,
        build=networks.mlp,
        optimizer=_SLOW,
        learned=(1, 10, 30),
    ),
    Setting(
        name="permuted pixels, MLP, SGD 0.05",
        stream=streams.permuted_pixels,
        build=networks.mlp,
        optimizer=_sgd(0.05),
    ),
    Setting(
        name="redrawn labels, MLP, Adam 0.001",
        stream=streams.redrawn_labels,
        build=networks.mlp,
        optimizer=_SLOW,
    ),
    Setting(
        name="redrawn labels, MLP, SGD 0.05",
        stream=streams.redrawn_labels,
        build=networks.mlp,
        optimizer=_sgd(0.05),
    ),
    Setting(
        name="redrawn labels, convolutions, Adam 0.001",
        stream=streams.redrawn_labels,
        build=networks.convolutions,
        optimizer=_SLOW,
    ),
    Setting(
        name="redrawn labels, convolutions + BN, Adam 0.001",
        stream=streams.redrawn_labels,
        build=networks.normalized,
        optimizer=_SLOW,
    ),
    Setting(
        name="redrawn labels, convolutions + BN, SGD 0.05",
        stream=streams.redrawn_labels,
        build=networks.normalized,
        optimizer=_sgd(0.05),
    ),
    Setting(
        name="new classes, convolutions, Adam 0.001",
        stream=streams.class_splits,
        build=networks.convolutions,
        optimizer=_SLOW,
    ),
    Setting(
        name="new classes, residual, Adam 0.001",
        stream=streams.class_splits,
        build=networks.residual,
        optimizer=_SLOW,
    ),
    Setting(
        name="new classes, convolutions + BN, Adam 0.003",
        stream=streams.class_splits,
        build=networks.normalized,
        optimizer=_FAST,
    ),
    Setting(
        name="another camera, convolutions, Adam 0.001",
        stream=streams.shifted_images,
        build=networks.convolutions,
        optimizer=_SLOW,
    ),
    Setting(
        name="another camera, convolutions + BN, Adam 0.001",
        stream=streams.shifted_images,
        build=networks.normalized,
        optimizer=_SLOW,
    ),
    Setting(
        name="another camera, residual, Adam 0.003",
        stream=streams.shifted_images,
        build=networks.residual,
        optimizer=_FAST,
    ),
    Setting(
        name="another camera, MLP, SGD 0.01",
        stream=streams.shifted_images,
        build=networks.mlp,
        optimizer=_sgd(0.01),
    ),
    Setting(
        name="regressions, MLP, Adam 0.001",
        stream=streams.regressions,
        build=networks.regressor,
        optimizer=_SLOW,
        learned=(10, 30),
        loss="mse",
    ),
    Setting(
        name="regressions, MLP, SGD 0.01",
        stream=streams.regressions,
        build=networks.regressor,
        optimizer=_sgd(0.01),
        loss="mse",
    ),
)
