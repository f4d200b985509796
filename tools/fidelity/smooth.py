"""What is left of trained networks whose smooth activations become PReLU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.data import Samples
from keras_prelu.errors import KerasPReLUWarning
from tools.common.tasks import CROSSENTROPY, Split, Task, digits, trained
from tools.fidelity.effort import SAMPLES

__all__ = ["SmoothConversion", "smooth_conversion", "smooth_tasks"]

L = keras.layers
_SIZE = 32
"""Pixels of the images for the networks of `keras.applications`."""
_RATE = 3e-4
_MOMENTUM = 0.9
"""Of BatchNormalization: Keras's 0.99 needs more steps than these trainings have."""


@dataclass(frozen=True)
class SmoothConversion:
    """A trained network whose smooth activations become PReLU.

    Errors are mean squared changes of the logits over their variance, accuracies percent, both on
    test samples that nothing else used.

    Attributes:
        network: Name.
        sites: Number of smooth activations.
        slope: Mean of the fitted slopes.
        error_fixed: Error with all slopes at 0.25, calibrated.
        error: Error with fitted slopes, calibrated.
        error_distilled: Error after a distillation.
        accuracy_original: Accuracy of the original.
        accuracy: Accuracy with fitted slopes, calibrated.
        accuracy_distilled: Accuracy after a distillation.
        accuracy_tuned: Accuracy after two epochs of fine-tuning of the calibrated network.
        accuracy_control: Accuracy of the original after the same fine-tuning.
    """

    network: str
    sites: int
    slope: float
    error_fixed: float
    error: float
    error_distilled: float
    accuracy_original: float
    accuracy: float
    accuracy_distilled: float
    accuracy_tuned: float
    accuracy_control: float


def smooth_tasks() -> Iterator[Task]:
    """Yield all networks with their training."""
    small: list[tuple[str, Callable[[str], keras.Model], str]] = [
        ("MLP", _mlp, "gelu"),
        ("convolutions", _plain, "silu"),
        ("residual", _residual, "silu"),
        ("inverted residual", _inverted, "elu"),
        ("inverted residual", _inverted, "gelu"),
        ("inverted residual", _inverted, "silu"),
        ("inverted residual", _inverted, "hard_silu"),
    ]
    for name, build, activation in small:
        yield Task(
            name=f"{name}, {activation}",
            build=partial(build, activation),
            samples=digits,
            epochs=16,
        )
    yield Task(name="MobileNetV3Small", build=_mobilenet, samples=_enlarged, epochs=12)
    yield Task(name="EfficientNetB0", build=_efficientnet, samples=_enlarged, epochs=8)
    yield Task(name="ConvNeXtTiny", build=_convnext, samples=_enlarged, epochs=8)


def smooth_conversion(task: Task) -> SmoothConversion:
    """Train a network, and convert it in every way."""
    model, split = trained(task, 0), task.samples(0)
    before = model.predict(split.test.x, verbose=0)
    samples = split.train.x[:SAMPLES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KerasPReLUWarning)  # The error is in the table.
        fixed, fitted, distilled = (
            kp.run_conversion(
                model, include=kp.sites.SMOOTH, calibration_data=samples, alpha=alpha, rescale=how
            )
            for alpha, how in ((0.25, "calibrated"), ("auto", "calibrated"), ("auto", "distilled"))
        )
    outputs = [each.model.predict(split.test.x, verbose=0) for each in (fixed, fitted, distilled)]
    errors = [kp.diagnostics.relative_error(after, before) for after in outputs]
    classes = split.test.y
    return SmoothConversion(
        network=task.name,
        sites=len(fitted.sites),
        slope=float(np.mean(list(fitted.fitted_slopes.values()))),
        error_fixed=errors[0],
        error=errors[1],
        error_distilled=errors[2],
        accuracy_original=_percent(before, classes),
        accuracy=_percent(outputs[1], classes),
        accuracy_distilled=_percent(outputs[2], classes),
        accuracy_tuned=_tuned(fitted.model, split),
        accuracy_control=_tuned(model, split),
    )


def _tuned(model: keras.Model, split: Split) -> float:
    """Return the accuracy after two epochs of training."""
    keras.utils.set_random_seed(1)
    model.compile(keras.optimizers.Adam(_RATE), CROSSENTROPY)
    model.fit(split.train.x, split.train.y, batch_size=64, epochs=2, verbose=0)
    return _percent(model.predict(split.test.x, verbose=0), split.test.y)


def _percent(logits: np.ndarray, classes: np.ndarray) -> float:
    return 100.0 * float(np.mean(logits.argmax(-1) == classes))


def _mlp(activation: str) -> keras.Model:
    layers = [L.Dense(64, activation=activation), L.Dense(64, activation=activation), L.Dense(10)]
    return keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), *layers])


def _plain(activation: str) -> keras.Model:
    layers = [
        L.Conv2D(filters, 3, padding="same", activation=activation) for filters in (32, 32, 64)
    ]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *layers, L.GlobalAveragePooling2D(), L.Dense(10)]
    )


def _residual(activation: str) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = L.Activation(activation)(_normalized(L.Conv2D(24, 3, padding="same"), inputs))
    for _ in range(3):
        h = L.Activation(activation)(_normalized(L.Conv2D(24, 3, padding="same"), x))
        h = _normalized(L.Conv2D(24, 3, padding="same"), h)
        x = L.Activation(activation)(L.Add()([x, h]))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def _inverted(activation: str) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = L.Activation(activation)(_normalized(L.Conv2D(16, 3, padding="same"), inputs))
    for width, strides in ((16, 1), (24, 2), (24, 1)):
        h = L.Activation(activation)(_normalized(L.Conv2D(64, 1), x))
        depthwise = L.DepthwiseConv2D(3, strides=strides, padding="same")
        h = L.Activation(activation)(_normalized(depthwise, h))
        h = _normalized(L.Conv2D(width, 1), h)
        x = L.Add()([x, h]) if x.shape == h.shape else h
    x = L.Activation(activation)(_normalized(L.Conv2D(96, 1), x))
    return keras.Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def _normalized(layer: keras.layers.Layer, x: keras.KerasTensor) -> keras.KerasTensor:
    layer.use_bias = False
    return L.BatchNormalization(momentum=_MOMENTUM)(layer(x))


def _mobilenet() -> keras.Model:
    return _with_momentum(
        keras.applications.MobileNetV3Small(
            weights=None,
            input_shape=(_SIZE, _SIZE, 3),
            classes=10,
            classifier_activation=None,
            include_preprocessing=False,
        )
    )


def _efficientnet() -> keras.Model:
    return _with_momentum(
        keras.applications.EfficientNetB0(
            weights=None, input_shape=(_SIZE, _SIZE, 3), classes=10, classifier_activation=None
        )
    )


def _convnext() -> keras.Model:
    return keras.applications.ConvNeXtTiny(
        weights=None,
        input_shape=(_SIZE, _SIZE, 3),
        classes=10,
        classifier_activation=None,
        include_preprocessing=False,
    )


def _with_momentum(model: keras.Model) -> keras.Model:
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.momentum = _MOMENTUM
    return model


def _enlarged(seed: int) -> Split:
    """Return images of digits of four times the size, in three equal channels."""
    split = digits(seed)
    return Split(train=_larger(split.train), test=_larger(split.test))


def _larger(samples: Samples) -> Samples:
    x = samples.x
    for axis, times in ((1, _SIZE // x.shape[1]), (2, _SIZE // x.shape[2]), (3, 3)):
        x = np.repeat(x, times, axis)
    return Samples(x.astype("float32"), samples.y)
