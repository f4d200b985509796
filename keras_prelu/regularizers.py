"""Penalties on negative slopes (claim 5)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_prelu.parameterizations import Parameterization
from keras_prelu.registration import serializable
from keras_prelu.typing import Tensor
from keras_prelu.utils.checks import check_number

__all__ = ["AlphaL2", "SlopePenalty"]


@serializable()
class AlphaL2(keras.regularizers.Regularizer):
    """L2 penalty (λ/2)·Σα² on the slope in effect.

    It pulls α to 0, towards ReLU, under every parameterization: its gradient with respect to β is
    λ·α·dα/dβ. Pass it to `PReLU(alpha_regularizer=...)`. Keras's own `L2(λ)` is λ·Σα², twice as
    strong for the same λ.

    To pull α to another value, penalize β (`PReLU(beta_regularizer=...)`): decay of β to 0 pulls α
    to the value of the parameterization at 0, which is 1 under exp, log 2 under softplus, 1/2 under
    sigmoid and 0 under square and identity.

    Args:
        penalty: Float ≥ 0. The factor λ. Defaults to 0.01.

    Raises:
        InvalidArgumentError: A ValueError; `penalty` is negative or not a finite number.

    Example:

    >>> layer = keras_prelu.PReLU(alpha_regularizer=keras_prelu.regularizers.AlphaL2(1e-3))

    References:
        Claim 5.
    """

    def __init__(self, penalty: float = 0.01) -> None:
        check_number("penalty", penalty, minimum=0.0)
        self.penalty = float(penalty)

    def __call__(self, x: Tensor) -> Tensor:
        return 0.5 * self.penalty * ops.sum(ops.square(x))

    def get_config(self) -> dict[str, Any]:
        return {"penalty": self.penalty}


class SlopePenalty(keras.regularizers.Regularizer):
    """The regularizer of a PReLU's variable β: `alpha_regularizer(α(β)) + beta_regularizer(β)`.

    Since it is a regularizer of the variable, not a loss added in `call`, the penalty counts once
    however often the layer is called. It is rebuilt from the layer's own configuration and never
    saved.

    Args:
        parameterization: `Parameterization` of the layer.
        alpha_regularizer: Keras regularizer of α, or None.
        beta_regularizer: Keras regularizer of β, or None.
    """

    def __init__(
        self, parameterization: Parameterization, alpha_regularizer: Any, beta_regularizer: Any
    ) -> None:
        self.parameterization = parameterization
        self.alpha_regularizer = alpha_regularizer
        self.beta_regularizer = beta_regularizer

    def __call__(self, x: Tensor) -> Tensor:
        beta = ops.convert_to_tensor(x)
        terms = []
        if self.alpha_regularizer is not None:
            terms.append(self.alpha_regularizer(self.parameterization.alpha(beta)))
        if self.beta_regularizer is not None:
            terms.append(self.beta_regularizer(beta))
        return sum(terms[1:], terms[0])
