"""Weight initializers for layers followed by PReLU (claim 4)."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.registration import serializable

__all__ = ["PReLUHeNormal", "PReLUHeUniform"]

_MODES = ("fan_in", "fan_out")


class _PReLUHe(keras.initializers.VarianceScaling):
    """The rule shared by both distributions: Var(W) = 2 / (fan · (1 + α²))."""

    _distribution: str

    def __init__(self, alpha: float = 0.25, mode: str = "fan_in", seed: Any = None) -> None:
        if (
            isinstance(alpha, bool)
            or not isinstance(alpha, (int, float))
            or not math.isfinite(alpha)
        ):
            raise InvalidArgumentError(
                "`alpha` must be a finite number, the slope the layers start with. Received:"
                f" alpha={alpha!r}"
            )
        if mode not in _MODES:
            raise InvalidArgumentError(
                f"`mode` must be 'fan_in' or 'fan_out'. Received: mode={mode!r}"
            )
        super().__init__(
            scale=2.0 / (1.0 + alpha**2), mode=mode, distribution=self._distribution, seed=seed
        )
        self.alpha = float(alpha)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {"alpha": self.alpha, "mode": self.mode, "seed": config["seed"]}


@serializable("PReLUHeNormal", "prelu_he_normal")
class PReLUHeNormal(_PReLUHe):
    """He's normal initializer for layers whose inputs come from a PReLU of slope `alpha`.

    Weights are drawn from a truncated normal distribution with variance 2 / (n·(1 + α²)), where n
    is the layer's fan-in (or fan-out). The second moment of the signal (or, backward, of the
    gradient) is then the same in every layer. With α = 0 this is `keras.initializers.HeNormal`;
    with α = 1, a linear network, it is `LecunNormal`.

    Args:
        alpha: Float. The initial negative slope of the network's PReLU layers. Defaults to 0.25.
        mode: String. `"fan_in"` preserves the forward signal, `"fan_out"` the gradient. Defaults to
            `"fan_in"`.
        seed: Integer, `keras.random.SeedGenerator` or None. Defaults to None, a random seed.

    Raises:
        InvalidArgumentError: A ValueError; `alpha` is not a finite number or `mode` is neither of
            the two.

    Example:

    >>> layer = keras.layers.Dense(64,
    ...     kernel_initializer=keras_prelu.initializers.PReLUHeNormal(alpha=0.25))
    # By name, once keras_prelu is imported
    >>> layer = keras.layers.Dense(64, kernel_initializer="PReLUHeNormal")

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.2. Claim 4.
    """

    _distribution = "truncated_normal"


@serializable("PReLUHeUniform", "prelu_he_uniform")
class PReLUHeUniform(_PReLUHe):
    """`PReLUHeNormal` with a uniform distribution of the same variance, 2 / (n·(1 + α²)).

    Args:
        alpha: Float. The initial negative slope of the network's PReLU layers. Defaults to 0.25.
        mode: String. `"fan_in"` preserves the forward signal, `"fan_out"` the gradient. Defaults to
            `"fan_in"`.
        seed: Integer, `keras.random.SeedGenerator` or None. Defaults to None, a random seed.

    Raises:
        InvalidArgumentError: A ValueError; `alpha` is not a finite number or `mode` is neither of
            the two.

    Example:

    >>> layer = keras.layers.Conv2D(8, 3,
    ...     kernel_initializer=keras_prelu.initializers.PReLUHeUniform(seed=0))

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.2. Claim 4.
    """

    _distribution = "uniform"
