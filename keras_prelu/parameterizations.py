"""Parameterizations: maps from the raw parameter β to the slope α in effect, by name (claim 5).

The command line repeats the names (`cli.options.conversion`), and `theory` the formulas.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.registration import serializable
from keras_prelu.typing import Tensor

__all__ = [
    "POSITIVE",
    "Exp",
    "Identity",
    "Parameterization",
    "Sigmoid",
    "Softplus",
    "Square",
    "get",
    "names",
    "serialize",
]


POSITIVE = "positive"
"""In `PReLU` and `convert`, the name of "identity" under `constraints.AtLeast()`.

It is no parameterization of its own: slopes are their raw parameters, and the constraint keeps them
at or above its minimum.
"""

_REGISTRY: dict[str, type[Parameterization]] = {}


class Parameterization:
    """A map α(β) that constrains a slope to its range.

    To add one, subclass this class, set the three class attributes and implement `alpha`,
    `contains` and `_inverse`; it is then found by its name.

    Attributes:
        name: String. Name of the map in `PReLU(parameterization=...)` and on the command line.
        interval: String. The range of α, for messages.
        positive: Boolean. Whether α > 0 for every β. The backward pass then needs only the output
            (see `sign_is_certain`).
        at_most_one: Boolean. Whether α ≤ 1 for every β, so that φ(x) = max(x, αx). Defaults to
            False.
    """

    name: ClassVar[str]
    interval: ClassVar[str]
    positive: ClassVar[bool]
    at_most_one: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _REGISTRY[cls.name] = cls

    def alpha(self, beta: Tensor) -> Tensor:
        """Return the slope α(β), elementwise, in the dtype of `beta`.

        Args:
            beta: Tensor. Raw parameters.
        """
        raise NotImplementedError

    def beta(self, alpha: Any) -> np.ndarray:
        """Return the raw parameter β with α(β) = `alpha`, elementwise, in float64.

        Args:
            alpha: Float or array. Slopes.

        Raises:
            InvalidArgumentError: A ValueError; the map cannot represent some slope. The message
                names the maps that can represent it.
        """
        alpha = np.asarray(alpha, dtype=np.float64)
        self.check(alpha)
        return self._inverse(alpha)

    def check(self, alpha: Any) -> None:
        """Check that the map can represent every slope.

        Args:
            alpha: Float or array. Slopes.

        Raises:
            InvalidArgumentError: A ValueError; the map can't represent some slope.
        """
        alpha = np.asarray(alpha, dtype=np.float64)
        outside = alpha[~self.contains(alpha)]
        if outside.size == 0:
            return
        slope = float(outside.flat[0])
        if not math.isfinite(slope):
            raise InvalidArgumentError(
                f"A negative slope must be a finite number. Received: alpha={slope}"
            )
        able = [name for name, cls in _REGISTRY.items() if bool(np.all(cls().contains(alpha)))]
        raise InvalidArgumentError(
            f"The slope {slope:g} is outside of {self.interval}, the range of parameterization"
            f" '{self.name}'. It can be represented by {' and '.join(repr(name) for name in able)}."
        )

    def contains(self, alpha: np.ndarray) -> np.ndarray:
        """Return which slopes lie in the map's range.

        Args:
            alpha: Array. Slopes.

        Returns:
            A boolean array of the same shape.
        """
        raise NotImplementedError

    def _inverse(self, alpha: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def sign_is_certain(self, dtype: str) -> bool:
        """Return whether the backward pass needs only the output.

        The output must always determine the sign of its input and, for negative inputs, ∂L/∂β.

        Args:
            dtype: String. The dtype in which the output is computed.
        """
        return self.positive

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Parameterization:
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.get_config() == self.get_config()

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(self.get_config().items()))))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


class _ToPositive:
    """What the maps to all positive slopes have in common."""

    interval = "(0, ∞)"
    positive = True

    def contains(self, alpha: np.ndarray) -> np.ndarray:
        return np.isfinite(alpha) & (alpha > 0)


@serializable()
class Exp(_ToPositive, Parameterization):
    """α = e^β, in (0, ∞), with dα/dβ = α. L2 on β pulls α to 1. β = log α₀.

    Steps are relative: a gradient step of size η changes α by a factor, so a small slope moves
    little in absolute terms and never reaches 0 or changes its sign. Claim 5.
    """

    name = "exp"

    def alpha(self, beta: Tensor) -> Tensor:
        return ops.exp(beta)

    def _inverse(self, alpha: np.ndarray) -> np.ndarray:
        return np.log(alpha)


@serializable()
class Square(Parameterization):
    """α = β², in [0, ∞), with dα/dβ = 2β. L2 on β pulls α to 0, towards ReLU. Claim 5.

    β = 0 is a stationary point: the slope gets no gradient there and never leaves 0. β and −β give
    the same slope; the positive root is taken.

    Args:
        allow_zero: Boolean. Whether an initial slope of exactly 0 is accepted although it never
            moves. Defaults to False.
    """

    name = "square"
    interval = "[0, ∞)"
    positive = False

    def __init__(self, allow_zero: bool = False) -> None:
        self.allow_zero = bool(allow_zero)

    def alpha(self, beta: Tensor) -> Tensor:
        return ops.square(beta)

    def check(self, alpha: Any) -> None:
        super().check(alpha)
        if not self.allow_zero and np.any(np.asarray(alpha) == 0):
            raise InvalidArgumentError(
                "An initial slope of exactly 0 never moves under parameterization 'square': dα/dβ ="
                " 2β is 0 there. Start from a positive slope, use 'identity', or ask for it with"
                " keras_prelu.parameterizations.Square(allow_zero=True)."
            )

    def sign_is_certain(self, dtype: str) -> bool:
        # ∂L/∂β is (2/β)·Σ g·min(y, 0). This is also right at β = 0, where both the negative output
        # and ∂α/∂β = 2β are 0. In float16 y = β²x may underflow when 2β does not. If slopes of 0
        # are allowed, second derivatives at 0 may be computed, which need x.
        return not self.allow_zero and dtype != "float16"

    def contains(self, alpha: np.ndarray) -> np.ndarray:
        return np.isfinite(alpha) & (alpha >= 0)

    def _inverse(self, alpha: np.ndarray) -> np.ndarray:
        return np.sqrt(alpha)

    def get_config(self) -> dict[str, Any]:
        return {"allow_zero": True} if self.allow_zero else {}


@serializable()
class Softplus(_ToPositive, Parameterization):
    """α = log(1 + e^β), in (0, ∞), with dα/dβ = σ(β). L2 on β pulls α to log 2. Claim 5.

    α grows linearly for large β.
    """

    name = "softplus"

    def alpha(self, beta: Tensor) -> Tensor:
        return ops.softplus(beta)

    def _inverse(self, alpha: np.ndarray) -> np.ndarray:
        return alpha + np.log(-np.expm1(-alpha))


@serializable()
class Sigmoid(Parameterization):
    """α = σ(β), in (0, 1), with dα/dβ = α(1 − α). L2 on β pulls α to 1/2. Claim 5.

    φ(x) = max(x, αx) is exact for these slopes.
    """

    name = "sigmoid"
    interval = "(0, 1)"
    positive = True
    at_most_one = True

    def alpha(self, beta: Tensor) -> Tensor:
        return ops.sigmoid(beta)

    def contains(self, alpha: np.ndarray) -> np.ndarray:
        return (alpha > 0) & (alpha < 1)

    def _inverse(self, alpha: np.ndarray) -> np.ndarray:
        return np.log(alpha) - np.log1p(-alpha)


@serializable()
class Identity(Parameterization):
    """α = β, any real number, with dα/dβ = 1: stock Keras PReLU. L2 on β pulls α to 0. Claim 5."""

    name = "identity"
    interval = "(-∞, ∞)"
    positive = False

    def alpha(self, beta: Tensor) -> Tensor:
        return beta

    def contains(self, alpha: np.ndarray) -> np.ndarray:
        return np.isfinite(alpha)

    def _inverse(self, alpha: np.ndarray) -> np.ndarray:
        return alpha


def names() -> tuple[str, ...]:
    """Return the names of all parameterizations, in the order of their definition."""
    return tuple(_REGISTRY)


def get(identifier: Any) -> Parameterization:
    """Return a parameterization.

    Args:
        identifier: String, `Parameterization`, subclass of `Parameterization`, or dict. The name,
            an instance, the class, or the serialized form.

    Raises:
        InvalidArgumentError: A ValueError; the identifier is none of these.

    Example:

    >>> keras_prelu.parameterizations.get("exp").alpha(keras.ops.array([0.0]))   # [1.0]
    """
    if isinstance(identifier, Parameterization):
        return identifier
    if isinstance(identifier, str) and identifier in _REGISTRY:
        return _REGISTRY[identifier]()
    if isinstance(identifier, type) and issubclass(identifier, Parameterization):
        return identifier()
    if isinstance(identifier, dict):
        deserialized = keras.saving.deserialize_keras_object(identifier)
        if isinstance(deserialized, Parameterization):
            return deserialized
    raise InvalidArgumentError(
        f"`parameterization` must be one of {', '.join(repr(name) for name in _REGISTRY)}, an"
        " instance of keras_prelu.parameterizations.Parameterization or, in PReLU and convert,"
        f" {POSITIVE!r}. Received: parameterization={identifier!r}"
    )


def serialize(parameterization: Parameterization) -> str | dict[str, Any]:
    """Return the name or the serialized form of a parameterization.

    The name is returned if `get` returns an equal parameterization for it, and Keras's serialized
    form otherwise.

    Args:
        parameterization: `Parameterization`. The instance to serialize.
    """
    if (
        type(parameterization) is _REGISTRY.get(parameterization.name)
        and not parameterization.get_config()
    ):
        return parameterization.name
    serialized: dict[str, Any] = keras.saving.serialize_keras_object(parameterization)
    return serialized
