"""Slopes as hyperparameters of KerasTuner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import PReLU

__all__ = ["SlopeChoice", "space"]


@dataclass(frozen=True, kw_only=True)
class SlopeChoice:
    """What a tuner chose for the slopes of a model.

    Attributes:
        parameterization: Str. The map from raw parameters to slopes.
        alpha: Float. The initial slope.
        shared_axes: Str. "channel_wise" or "channel_shared".
        multiplier: Float. Ratio of the slopes' learning rate to that of the weights.
    """

    parameterization: str
    alpha: float
    shared_axes: str
    multiplier: float

    @property
    def layer(self) -> dict[str, Any]:
        """The arguments of `PReLU`."""
        return {"alpha_initializer": self.alpha, **self._map_and_axes}

    @property
    def conversion(self) -> dict[str, Any]:
        """The arguments of `convert`."""
        return {"alpha": self.alpha, **self._map_and_axes}

    @property
    def optimizer(self) -> dict[str, Any]:
        """The arguments of `SlopeOptimizer`."""
        return {"multiplier": self.multiplier}

    @property
    def finetuning(self) -> dict[str, Any]:
        """The arguments of `finetune`."""
        return {"slope_multiplier": self.multiplier}

    @property
    def _map_and_axes(self) -> dict[str, Any]:
        return {"parameterization": self.parameterization, "shared_axes": self.shared_axes}


def space(
    hp: Any,
    *,
    name: str = "slope",
    parameterizations: Sequence[str] = ("identity", "exp"),
    alphas: Sequence[float] = (0.0, 0.05, 0.25),
    shared_axes: Sequence[str] = ("channel_wise", "channel_shared"),
    multipliers: tuple[float, float] = (0.1, 30.0),
) -> SlopeChoice:
    """Add the hyperparameters of slopes to a search, and return what it chose for this trial.

    Each map is tried with those of the initial slopes that it can represent: "exp" not with 0.
    To convert with slopes above 0.001, `convert` needs samples (`calibration_data`), or leave 0
    alone in `alphas`.

    Args:
        hp: `keras_tuner.HyperParameters`.
        name: Str. Beginning of the hyperparameters' names, so that a model can have several spaces.
            Defaults to "slope".
        parameterizations: Sequence of str. Names of maps. Defaults to "identity" and "exp".
        alphas: Sequence of floats. Initial slopes. Defaults to 0, 0.05 and 0.25.
        shared_axes: Sequence of str. Defaults to "channel_wise" and "channel_shared".
        multipliers: Pair of floats. Lowest and highest ratio of the slopes' learning rate to that
            of the weights, which are searched on a logarithmic scale. Defaults to 0.1 and 30.

    Returns:
        A `SlopeChoice`, whose properties are the arguments of `PReLU`, `convert`, `SlopeOptimizer`
        and `finetune`.

    Raises:
        InvalidArgumentError: A ValueError; a map can represent none of the slopes, there is no such
            map, or the multipliers are not positive and in order.

    Example:

    >>> def build(hp):
    ...     slopes = keras_prelu.tuning.space(hp)
    ...     network = keras.Sequential([keras.Input((64,)), keras.layers.Dense(16),
    ...         keras_prelu.PReLU(**slopes.layer), keras.layers.Dense(10)])
    ...     optimizer = keras_prelu.SlopeOptimizer("adam", **slopes.optimizer)
    ...     network.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ...         metrics=["accuracy"])
    ...     return network
    """
    lowest, highest = multipliers
    if not 0 < lowest <= highest:
        raise InvalidArgumentError(
            "`multipliers` must be a pair of positive numbers, the lower one first. Received:"
            f" multipliers={multipliers}"
        )
    representable = {each: _representable(each, alphas) for each in parameterizations}
    parent = f"{name}_parameterization"
    chosen = hp.Choice(parent, list(parameterizations))
    alpha_by_map = {}
    for each, values in representable.items():
        with hp.conditional_scope(parent, [each]):
            alpha_by_map[each] = hp.Choice(f"{name}_alpha_{each}", values)
    return SlopeChoice(
        parameterization=chosen,
        alpha=alpha_by_map[chosen],
        shared_axes=hp.Choice(f"{name}_shared_axes", list(shared_axes)),
        multiplier=hp.Float(f"{name}_multiplier", lowest, highest, sampling="log"),
    )


def _representable(parameterization: str, alphas: Sequence[float]) -> list[float]:
    """Return those of the slopes that a map can represent.

    Raises:
        InvalidArgumentError: A ValueError; that is none of them, or there is no such map.
    """
    found, refused = [], InvalidArgumentError("`alphas` is empty. Give slopes to start from.")
    for alpha in alphas:
        try:
            PReLU(alpha, parameterization=parameterization, name=parameterization)
            found.append(float(alpha))
        except InvalidArgumentError as error:
            refused = error
    if not found:
        raise refused
    return found
