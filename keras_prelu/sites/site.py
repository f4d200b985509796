"""A site: a place where a model applies a rectifier, as users see it and as surgery needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.custom_layers.held_rectifiers import HeldRectifier
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.rectifiers import Rectifier
from keras_prelu.layers import PReLU

__all__ = ["LocatedSite", "Site", "describe_site", "unique_name"]


@dataclass(frozen=True)
class Site:
    """A place where a model applies a rectifier.

    Attributes:
        path: String. Where it is: the names of the enclosing models and of the layer, joined by
            "/"; inside a layer with Python code of its own, the attributes that lead to it. `#2`,
            `#3`, … for the later calls of a layer object that is called at several places, or,
            inside such a layer, for the other numbers of channels that it meets.
        layer: String. Class name of the layer, such as "ReLU" or "Conv2D".
        kind: String. "relu" (a ReLU layer), "activation" (an Activation layer), "inline"
            (`activation="relu"` of another layer), "op" (`keras.ops.relu` in a functional graph),
            "function" (an attribute of a custom layer that holds `keras.activations.relu`), "code"
            (a function that a custom layer calls in its Python code), "leaky_relu", "prelu" or
            "elu" (layers of that name).
        channels: Integer. Number of channels, or None if it is not known.
        convertible: Boolean. Whether `keras_prelu.convert` can convert it.
        reason: String. Why it can't be converted, or only on request; empty otherwise.
        negative_slope: Float. The slope it has today; None for the learned slopes of a PReLU.
        max_value: Float. The cap on its output (6 for ReLU6), or None.
        target: String. Path of the PReLU layer that replaces it.
        on_request: Boolean. Whether it is converted only if `include` matches it: smooth relatives
            of ReLU such as ELU and GELU.
    """

    path: str
    layer: str
    kind: str
    channels: int | None
    convertible: bool
    reason: str
    negative_slope: float | None
    max_value: float | None
    target: str
    on_request: bool = False


@dataclass(frozen=True)
class LocatedSite:
    """A site with what surgery needs to replace it.

    Attributes:
        site: `Site`.
        operation: Layer or op. What the graph calls: the rectifier itself, or the layer with Python
            code of its own that holds it.
        index: Int. How often the operation was called before.
        data_format: String. "channels_last" or "channels_first".
        dtype: String. Dtype of the tensor, or "" if it is not known.
        held: `HeldRectifier`. The attribute of a layer with Python code of its own that applies it;
            None for a site of a graph.
        shapes: Tuple of shapes. Of the tensors that it is applied to, batch first; for a site
            inside such a layer.
        prelu: `PReLU`. The layer of this package that a converted layer applies at this site
            already; None otherwise.
    """

    site: Site
    operation: keras.Operation
    index: int
    data_format: str
    dtype: str
    held: HeldRectifier | None = None
    shapes: tuple[tuple[int | None, ...], ...] = ()
    prelu: PReLU | None = None

    @property
    def owner(self) -> Any:
        """The layer, op or object that applies the rectifier; for a function that Python code
        calls, the layer with that code."""
        target = self.inner_target
        return self.operation if target is None else target.owner

    @property
    def inner_target(self) -> HookTarget | None:
        """The attribute that applies the rectifier inside a layer with Python code of its own; None
        for a site of a graph, and for a function that Python code calls."""
        if self.prelu is not None:
            return HookTarget(self.prelu)
        return None if self.held is None else self.held.target


def describe_site(
    rectifier: Rectifier, *, path: str, layer: str, channels: int | None, reason: str, target: str
) -> Site:
    """Return the `Site` of a rectifier.

    Args:
        rectifier: `Rectifier`. What is applied.
        path: String. See `Site`.
        layer: String. See `Site`.
        channels: Integer or None. See `Site`.
        reason: String. Why the surroundings of the rectifier forbid a conversion, or "".
        target: String. See `Site`.
    """
    obstacle = rectifier.reason or reason
    if not obstacle and channels is None:
        obstacle = "its number of channels is not known when the model is built"
    on_request = bool(rectifier.smooth) and not obstacle
    if on_request:
        reason = f"{rectifier.smooth} is smooth: converted on request only (include)"
    else:
        reason = obstacle
    return Site(
        path=path,
        layer=layer,
        kind=rectifier.kind,
        channels=channels,
        convertible=not obstacle,
        reason=reason,
        negative_slope=rectifier.negative_slope,
        max_value=rectifier.max_value,
        target=target,
        on_request=on_request,
    )


def unique_name(wanted: str, taken: set[str]) -> str:
    """Return a name that no layer has, from the wanted one, and add it to those taken."""
    unique, suffix = wanted, 1
    while unique in taken:
        suffix += 1
        unique = f"{wanted}_{suffix}"
    taken.add(unique)
    return unique
