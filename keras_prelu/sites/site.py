"""A site, a place where a model applies a rectifier, as users see it and as surgery needs it."""

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
        path: String. The names of the enclosing models and of the layer, joined by "/"; inside a
            layer with Python code of its own, the attributes that lead to the rectifier. `#2`,
            `#3`, … mark the later calls of a layer object that is called at several places or,
            inside such a layer, the other numbers of channels that the rectifier meets.
        layer: String. Class name of the layer, such as "ReLU" or "Conv2D".
        kind: String. "relu" (a ReLU layer), "activation" (an Activation layer), "inline"
            (`activation="relu"` of another layer), "op" (`keras.ops.relu` in a functional graph),
            "function" (an attribute of a custom layer that holds `keras.activations.relu`), "code"
            (a function that a custom layer calls in its Python code), "leaky_relu", "prelu" or
            "elu" (layers of that name).
        channels: Integer. Number of channels, or None if it is not known.
        convertible: Boolean. Whether `keras_prelu.convert` can convert it.
        reason: String. Why it can't be converted, or only on request; empty otherwise.
        negative_slope: Float. The present slope; None for the learned slopes of a PReLU.
        max_value: Float. The cap on the output (6 for ReLU6), or None.
        target: String. Path of the PReLU layer that replaces the rectifier.
        on_request: Boolean. Whether the site is converted only if `include` matches it; True for
            smooth relatives of ReLU such as ELU and GELU, and for rectifiers whose range matters,
            such as gates and outputs of the model.
        is_smooth: Boolean. Whether it is a convertible smooth relative of ReLU.
        source: String. Of a function that Python code calls: file, line and name of the function
            that calls it, and whether the call is repeated in a loop. Empty otherwise.
        range_matters: Boolean. Whether it is on request because the model, or the code that calls
            the model, relies on the range of its output.
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
    is_smooth: bool = False
    source: str = ""
    range_matters: bool = False


@dataclass(frozen=True)
class LocatedSite:
    """A site together with what surgery needs to replace it.

    Attributes:
        site: `Site`.
        operation: Layer or op. The operation that the graph calls: the rectifier itself, or the
            layer with Python code of its own that holds the rectifier.
        index: Integer. How often the operation was called earlier.
        data_format: String. "channels_last" or "channels_first".
        dtype: String. Dtype of the tensor, or "" if it is not known.
        held: `HeldRectifier`. The attribute of a layer with Python code of its own that applies the
            rectifier; None for a site of a graph.
        shapes: Tuple of shapes. For a site inside such a layer, the shapes of the tensors that the
            rectifier is applied to, batch first.
        prelu: `PReLU`. The layer of this package that a converted layer already applies at this
            site; None otherwise.
        is_written: Boolean. Whether several operations of a graph compute the rectifier, see
            `written_rectifiers`; `operation` is the last of them.
    """

    site: Site
    operation: keras.Operation
    index: int
    data_format: str
    dtype: str
    held: HeldRectifier | None = None
    shapes: tuple[tuple[int | None, ...], ...] = ()
    prelu: PReLU | None = None
    is_written: bool = False

    @property
    def owner(self) -> Any:
        """The layer, op or object that applies the rectifier.

        For a function that Python code calls, it is the layer with that code.
        """
        target = self.inner_target
        return self.operation if target is None else target.owner

    @property
    def inner_target(self) -> HookTarget | None:
        """The attribute that applies the rectifier inside a layer with Python code of its own.

        None for a site of a graph, and for a function that Python code calls.
        """
        if self.prelu is not None:
            return HookTarget(self.prelu)
        return None if self.held is None else self.held.target

    @property
    def function(self) -> Any:
        """The smooth activation that the site applies, as a function of a tensor."""
        if self.held is not None:
            return self.held.target.value
        return self.operation.activation if self.site.kind == "inline" else self.operation


def describe_site(
    rectifier: Rectifier,
    *,
    path: str,
    layer: str,
    channels: int | None,
    target: str = "",
    reason: str = "",
    objection: str = "",
    source: str = "",
) -> Site:
    """Return the `Site` of a rectifier.

    Args:
        rectifier: `Rectifier`. The rectifier that the site applies.
        path: String. See `Site`.
        layer: String. See `Site`.
        channels: Integer or None. See `Site`.
        target: String. See `Site`. Defaults to "": it has no name yet.
        reason: String. Why the surroundings of the rectifier forbid a conversion, or "".
        objection: String. Why the rectifier is converted on request only, or "".
        source: String. See `Site`.
    """
    obstacle = rectifier.reason or reason
    if not obstacle and channels is None:
        obstacle = "its number of channels is not known when the model is built"
    elif not obstacle and channels == 0:
        obstacle = "it has no channels"
    reasons_to_ask = [objection] if objection else []
    if rectifier.smooth:
        smooth = f"{rectifier.smooth} is smooth: converted on request only (include)"
        reasons_to_ask.insert(0, smooth)
    return Site(
        path=path,
        layer=layer,
        kind=rectifier.kind,
        channels=channels,
        convertible=not obstacle,
        reason=obstacle or "; ".join(reasons_to_ask),
        negative_slope=rectifier.negative_slope,
        max_value=rectifier.max_value,
        target=target,
        on_request=bool(reasons_to_ask) and not obstacle,
        is_smooth=bool(rectifier.smooth) and not obstacle,
        source=source,
        range_matters=bool(objection) and not obstacle,
    )


def unique_name(wanted: str, taken: set[str]) -> str:
    """Return a name that no layer has, derived from the wanted one, and add it to `taken`."""
    unique, suffix = wanted, 1
    while unique in taken:
        suffix += 1
        unique = f"{wanted}_{suffix}"
    taken.add(unique)
    return unique
