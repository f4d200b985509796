"""A network beside itself at initialization: norms of weights and of gradients (claim 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.conversion.fresh_copies import fresh_copy
from keras_prelu.data.samples import CheckedSamples
from keras_prelu.data.signature import with_declared_inputs
from keras_prelu.diagnostics.gradient_noise import GradientNoise, gradient_noise
from keras_prelu.display.tables import number
from keras_prelu.errors import ConversionError
from keras_prelu.graph.plan import compile_plan
from keras_prelu.scaling.layer_norms import (
    initial_norms,
    kernel_norms,
    linear_steps,
    reference_norms,
)

__all__ = [
    "GradientNorm",
    "LayerNorm",
    "gradient_beside_initial",
    "gradient_sentence",
    "norms_beside_initial",
]


@dataclass(frozen=True)
class LayerNorm:
    """The norm of the weights of one linear layer.

    Attributes:
        path: String. The layer's path.
        norm: Float. The Frobenius norm of its kernel.
        initial: Float, or None if it is not known. The norm at initialization.
    """

    path: str
    norm: float
    initial: float | None

    @property
    def growth(self) -> float | None:
        """The norm over the one at initialization, or None if that is not known or 0."""
        return self.norm / self.initial if self.initial else None


@dataclass(frozen=True)
class GradientNorm:
    """The norm of the gradient of the mean loss with respect to all trainable weights.

    Attributes:
        samples: Integer. The number of samples.
        norm: Float. The norm, without the part that the noise of the samples adds; 0 if the
            gradient can't be told from noise.
        initial: Float. That of the network at initialization.
    """

    samples: int
    norm: float
    initial: float


def norms_beside_initial(
    model: keras.Model, x: Any, reference: keras.Model | None, seed: int
) -> tuple[LayerNorm, ...]:
    """Return the norms of all linear layers, in execution order.

    Layers inside layers with Python code of their own are left out.

    Args:
        model: Keras model.
        x: Array, or structure of arrays. Samples that the model can be called with.
        reference: Keras model before its training, or None: weights are drawn from the initializers
            of the layers.
        seed: Integer. Seed of these weights.

    Raises:
        InvalidArgumentError: If the reference has other linear layers. A `ValueError`.
    """
    plan = compile_plan(with_declared_inputs(model, x))
    norms = kernel_norms(plan)
    initial = (
        initial_norms(model, plan, seed)
        if reference is None
        else reference_norms(plan, with_declared_inputs(reference, x))
    )
    return tuple(
        LayerNorm(
            path=step.path,
            norm=norms[id(step.operation)],
            initial=initial.get(id(step.operation)),
        )
        for step in linear_steps(plan)
    )


def gradient_beside_initial(
    model: keras.Model,
    noise: GradientNoise,
    samples: CheckedSamples,
    loss: Any,
    reference: keras.Model | None,
    seed: int,
) -> GradientNorm | None:
    """Return the norm of the gradient of a network, beside that of a fresh copy.

    Args:
        model: Keras model.
        noise: `GradientNoise` of the model on the samples.
        samples: `CheckedSamples` with labels.
        loss: Keras loss that is a mean over samples.
        reference: Keras model before its training, or None: a fresh copy is made.
        seed: Integer. Seed of the fresh weights, and of the draw of samples as in
            `gradient_noise`.

    Returns:
        A `GradientNorm`, or None if no fresh copy can be made.
    """
    if reference is None:
        try:
            reference = fresh_copy(model, seed)
        except ConversionError:
            return None
    initial = gradient_noise(reference, samples, loss=loss, seed=seed)
    return GradientNorm(samples=noise.samples, norm=_norm(noise), initial=_norm(initial))


def gradient_sentence(gradient: GradientNorm) -> str:
    """Return what is known of the gradient of a network, now and at initialization."""
    now = f"The gradient of the loss {_norm_text(gradient.norm)}"
    if gradient.norm and gradient.initial:
        return f"{now}, and {number(gradient.initial, 3)} at initialization."
    lacking = f"on {gradient.samples:,} samples"
    return f"{now}, and at initialization it {_norm_text(gradient.initial)}, {lacking}."


def _norm_text(norm: float) -> str:
    return f"has a norm of {number(norm, 3)}" if norm else "can't be told from 0"


def _norm(noise: GradientNoise) -> float:
    return math.sqrt(max(noise.squared_norm, 0.0))
