"""Sites inside layers with Python code of their own, and inside subclassed models.

These are the rectifiers that such layers hold, and the tensors that reach them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.called_rectifiers import is_handed_on
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.custom_layers.held_rectifiers import HeldRectifier
from keras_prelu.custom_layers.tracing import RectifierCall
from keras_prelu.errors import ConversionError
from keras_prelu.graph import functional
from keras_prelu.graph.carried_functions import carried_activations
from keras_prelu.graph.leaves import rebuild_failure
from keras_prelu.graph.objections import Objections
from keras_prelu.graph.parts import is_container, parts_of
from keras_prelu.layers import PReLU
from keras_prelu.sites.code_sites import sites_in_code
from keras_prelu.sites.opened_code import Code, add_graphs, layers_with_code, may_call_functions
from keras_prelu.sites.opened_layers import OpenedLayers
from keras_prelu.sites.site import LocatedSite, Site, describe_site, unique_name
from keras_prelu.sites.traces import Arguments, Trace, arguments_at_build, is_function

__all__ = ["NOT_APPLIED", "sites_of_layer", "sites_of_model"]

NOT_APPLIED = "it is not applied when the layer is called"
"""Reason of a site of a layer that is held and never called."""

_NOT_FOLLOWED = "it is applied in a branch of the code that can't be followed"
_CARRIED = (
    "it is inside a layer that another one has as its activation, and that a converted model would"
    " share with the original: call that layer by itself"
)


def sites_of_layer(
    layer: keras.layers.Layer,
    calls: Sequence[functional.Call],
    scope: str,
    taken: set[str],
    objections: Objections,
    opened: OpenedLayers,
) -> Iterator[LocatedSite]:
    """Yield the sites inside a layer.

    Args:
        layer: Layer with Python code of its own.
        calls: Sequence of `Call`. The calls of the layer in a graph.
        scope: String. Prefix of the paths of the sites: the layer's path and "/".
        taken: Set of strings. Names that new layers can't have; the names of the new layers are
            added.
        objections: `Objections`. What was found in the model that contains the layer.
        opened: `OpenedLayers`.
    """
    uses = [[Arguments(call.args, call.kwargs)] for call in calls]
    return _Inspection(layer, scope, taken, opened).sites(uses, objections)


def sites_of_model(model: keras.Model, *, is_rebuilt: bool = True) -> Iterator[LocatedSite]:
    """Yield the sites of a model that is treated as one layer, called as it was at build.

    Args:
        model: `keras.Model`.
        is_rebuilt: Boolean. Whether the model has to be rebuilt from its configuration. Defaults to
            True.

    Raises:
        ConversionError: The model is not built.
    """
    for each in parts_of(model) if is_container(model) else [model]:
        # A model without a `build` that was made from a configuration has its weights and their
        # shapes, and counts as built after its first call.
        if not each.built and not each.get_build_config():
            raise ConversionError(
                f"Model '{each.name}' ({type(each).__name__}) has no weights yet. Call it once on"
                " data."
            )
    if functional.has_graph(model):
        alternatives = [Arguments((functional.detached(model.input),), {})]
    else:
        alternatives = list(arguments_at_build(model))
    opened = OpenedLayers()
    if may_call_functions(model):
        _call_with_first(model, alternatives, opened)
    inspection = _Inspection(model, "", set(), opened, is_rebuilt=is_rebuilt)
    return inspection.sites([alternatives] if alternatives else [])


def _call_with_first(
    model: keras.Model, alternatives: Sequence[Arguments], opened: OpenedLayers
) -> None:
    """Call a model with the first arguments that it takes, see `OpenedLayers.call`."""
    for arguments in alternatives:
        # What fails with all of them is reported where the sites are listed.
        with contextlib.suppress(Exception):
            opened.call(model, arguments.args, arguments.kwargs)
            return


@dataclass
class _Inspection:
    """The sites inside one layer, or of one model that is treated as a layer.

    Attributes:
        layer: Layer or `keras.Model`.
        scope: String. Prefix of the paths of the sites.
        taken: Set of strings. Names that new layers can't have.
        opened: `OpenedLayers`.
        is_rebuilt: Boolean. Whether the layer has to be rebuilt from its configuration.
    """

    layer: Any
    scope: str
    taken: set[str]
    opened: OpenedLayers
    is_rebuilt: bool = True

    def __post_init__(self) -> None:
        self._rectifiers = self.opened.rectifiers(self.layer)
        self._data_format = next(
            (inner.data_format for inner in sublayers(self.layer) if hasattr(inner, "data_format")),
            "channels_last",
        )

    def sites(
        self, uses: Sequence[Sequence[Arguments]], objections: Objections | None = None
    ) -> Iterator[LocatedSite]:
        """Yield the sites for the uses of the layer.

        Each use is a list of alternatives, of which the first that the layer takes counts.

        Args:
            uses: Sequence of sequences of `Arguments`.
            objections: `Objections`. What was found in the model that contains the layer. Defaults
                to None: the layer is the model.
        """
        if self._rectifiers or may_call_functions(self.layer):
            trace = Trace(self.layer, uses, self._rectifiers)
            code = self._code(trace.arguments)
            if objections is None:
                objections = self._objections(trace.arguments)
            yield from self._called(trace, objections)
            yield from self._not_called(trace)
            yield from self._in_code(code)
        for prelu in prelus(self.layer):
            yield self._own_prelu(prelu)

    def _objections(self, arguments: Arguments | None) -> Objections:
        objections = Objections(self.opened)
        if arguments is not None:
            objections.examine_code(self.layer, arguments.args, arguments.kwargs)
        return objections

    def _code(self, arguments: Arguments | None) -> Code:
        """Return the graphs of the layer's code and of the layers inside."""
        code = Code(graphs=[], without_graph=[])
        if arguments is None:
            code.without_graph.extend(layers_with_code(self.layer))
        else:
            add_graphs(self.opened, self.layer, arguments, code)
        return code

    def _called(self, trace: Trace, objections: Objections) -> Iterator[LocatedSite]:
        is_rebuilt = self.is_rebuilt and bool(trace.calls)
        obstacle = rebuild_failure(self.layer) if is_rebuilt else ""
        if obstacle and not self.scope:  # A model, of which nobody else needs a copy.
            obstacle += ", or convert it in place (in_place=True)"
        carried = self._carried()
        for held in {call.held.address: call.held for call in trace.calls}.values():
            activation = carried.get(id(held.applier))
            if activation is not None and self._is_rectifier(activation):
                continue
            is_followed = objections.is_applied(held.target)
            is_for_samples = is_followed or is_handed_on(held.address)
            calls = [
                call
                for call in trace.calls_of(held)
                if keras.backend.is_float_dtype(call.dtype) and (call.has_batch or is_for_samples)
            ]
            objection = objections.reason_inside(held.target) if is_followed else _NOT_FOLLOWED
            reason = obstacle or ("" if activation is None else _CARRIED)
            yield from self._by_channels(held, calls, reason, objection)

    def _carried(self) -> dict[int, Any]:
        """Return the activations that a copy of the layer would share, by what is inside them."""
        activations = [target.value for target in carried_activations(self.layer)]
        return {id(inner): each for each in activations for inner in (each, *sublayers(each))}

    def _is_rectifier(self, activation: Any) -> bool:
        """Return whether an activation is a site as a whole."""
        return any(
            getattr(held.owner, "activation", None) is activation for held in self._rectifiers
        )

    def _by_channels(
        self, held: HeldRectifier, calls: Sequence[RectifierCall], reason: str, objection: str
    ) -> Iterator[LocatedSite]:
        """Yield one site for each rank and number of channels that a rectifier meets."""
        axis = 1 if self._data_format == "channels_first" else -1
        groups: dict[tuple[int, int | None], list[RectifierCall]] = {}
        for call in calls:
            channels = call.shape[axis] if len(call.shape) > 1 else None
            groups.setdefault((len(call.shape), channels), []).append(call)
        for number, ((_, channels), group) in enumerate(groups.items(), start=1):
            with_arguments = any(call.has_arguments for call in group)
            site = describe_site(
                held.rectifier,
                path=held.path if number == 1 else f"{held.path}#{number}",
                layer=held.layer,
                channels=channels,
                reason="it is called with arguments of its own" if with_arguments else reason,
                objection=objection,
                source=held.source,
            )
            shapes = tuple(dict.fromkeys(call.shape for call in group))
            yield self._located(held, site, group[0].dtype, shapes)

    def _not_called(self, trace: Trace) -> Iterator[LocatedSite]:
        """Yield the rectifiers whose calls were not observed.

        A function that is held and not applied is not a site: much of what layers hold is for other
        purposes.
        """
        for held in self._rectifiers:
            if not trace.calls_of(held) and (trace.failure or not is_function(held)):
                reason = trace.failure or NOT_APPLIED
                site = describe_site(
                    held.rectifier,
                    path=held.path,
                    layer=held.layer,
                    channels=None,
                    reason=reason,
                    source=held.source,
                )
                yield self._located(held, site)

    def _located(
        self,
        held: HeldRectifier,
        site: Site,
        dtype: str = "",
        shapes: tuple[tuple[int | None, ...], ...] = (),
    ) -> LocatedSite:
        return LocatedSite(
            site=self._scoped(site),
            operation=self.layer,
            index=0,
            data_format=self._data_format,
            dtype=dtype,
            held=held,
            shapes=shapes,
        )

    def _in_code(self, code: Code) -> Iterator[LocatedSite]:
        """Yield the functions that Python code calls."""
        for site in sites_in_code(self.layer, code, self._rectifiers, self.opened):
            yield LocatedSite(
                site=self._scoped(site),
                operation=self.layer,
                index=0,
                data_format="channels_last",
                dtype="",
            )

    def _scoped(self, site: Site) -> Site:
        """Return a site with its full path, and with a name for the layer that replaces it."""
        target = unique_name(_as_name(site.path), self.taken)
        return replace(site, path=f"{self.scope}{site.path}", target=f"{self.scope}{target}")

    def _own_prelu(self, prelu: PReLU) -> LocatedSite:
        path = f"{self.scope}{prelu.name}"
        site = Site(
            path=path,
            layer="PReLU",
            kind="prelu",
            channels=prelu.beta.shape[-1],
            convertible=False,
            reason="it is a keras_prelu.PReLU already",
            negative_slope=None,
            max_value=prelu.max_value,
            target=path,
        )
        return LocatedSite(
            site=site,
            operation=self.layer,
            index=0,
            data_format=prelu.data_format,
            dtype=prelu.compute_dtype,
            prelu=prelu,
        )


def _as_name(path: str) -> str:
    """Return the name of a new layer for a site inside a layer: Keras allows no slash in names."""
    words = "".join(character if character.isalnum() else "_" for character in path).strip("_")
    return f"{words}_prelu"
