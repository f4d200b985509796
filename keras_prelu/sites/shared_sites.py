"""Sites of layers that several parts of a model hold (`graph.shared_layers`).

Such a layer has one activation, wherever it is called. A PReLU takes its place if only the graph
applies it, and the other parts use the weights alone, as the decoder of a tied autoencoder does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.custom_layers.code_calls import CodeCalls
from keras_prelu.graph.functional import operations
from keras_prelu.graph.shared_layers import SharedLayer, shared_layers
from keras_prelu.sites.inspection import NOT_APPLIED
from keras_prelu.sites.site import LocatedSite

__all__ = ["refuse_shared_sites"]


def refuse_shared_sites(model: keras.Model, sites: Sequence[LocatedSite]) -> list[LocatedSite]:
    """Return the sites of a model, of which those that several parts apply are not convertible.

    Args:
        model: `keras.Model`.
        sites: Sequence of `LocatedSite`. All sites of `model`.
    """
    shared = _with_parts(shared_layers(model))
    if not shared:
        return list(sites)
    appliers: dict[int, set[int]] = {}
    for located in sites:
        if located.site.reason != NOT_APPLIED:
            appliers.setdefault(_owner(located), set()).add(id(located.operation))
    return [_checked(located, shared, appliers) for located in sites]


def _with_parts(shared: Mapping[int, SharedLayer]) -> dict[int, SharedLayer]:
    """Return shared layers by their ids, and by those of the layers and ops inside them."""
    found = dict(shared)
    for each in shared.values():
        inside = [*operations(each.layer), *sublayers(each.layer)]
        inside += [operation for inner in sublayers(each.layer) for operation in operations(inner)]
        for inner in inside:
            found.setdefault(id(inner), each)
    return found


def _checked(
    located: LocatedSite, shared: Mapping[int, SharedLayer], appliers: Mapping[int, set[int]]
) -> LocatedSite:
    owner = _owner(located)
    is_of_graph = located.site.kind == "inline" and id(located.operation) == owner
    if (
        owner not in shared
        or not located.site.convertible
        or (is_of_graph and shared[owner].layer is located.operation and len(appliers[owner]) == 1)
    ):
        return located
    layer = shared[owner].layer
    holders = [f"'{holder.name}'" for holder in shared[owner].holders]
    parts = [*(["the graph"] if shared[owner].is_in_graph else []), *holders]
    reason = (
        f"{', '.join(parts[:-1])} and {parts[-1]} share the layer '{layer.name}' and its weights:"
        " apply the ReLU as a layer of its own outside of it"
    )
    return replace(
        located,
        site=replace(
            located.site,
            convertible=False,
            reason=reason,
            on_request=False,
            is_smooth=False,
            range_matters=False,
        ),
    )


def _owner(located: LocatedSite) -> int:
    owner = located.owner
    return id(owner.layer if isinstance(owner, CodeCalls) else owner)
