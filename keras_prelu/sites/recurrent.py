"""Sites of Keras's recurrent layers, whose cell applies a rectifier at every time step.

A cell is Python code that holds its rectifier in an attribute, so a PReLU takes its place there, as
in a custom layer (`custom_layers.converted_layer`). There is a slope for each unit, the same at all
time steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from keras_prelu.custom_layers.held_rectifiers import HeldRectifier
from keras_prelu.graph.functional import Call
from keras_prelu.graph.hooks import HookTarget
from keras_prelu.graph.rectifier_recognition import recognize_function, unchanged_class
from keras_prelu.graph.rectifiers import RECURRENT
from keras_prelu.sites.site import LocatedSite, describe_site

__all__ = ["recurrent_site"]

_OBJECTION = "its cell applies it at every time step: converted on request only (include)"


def recurrent_site(call: Call, scope: str) -> LocatedSite | None:
    """Return the site of a recurrent layer of Keras's whose cell applies a ReLU, or None.

    Args:
        call: `Call` in a graph.
        scope: String. Prefix of the path: the model's path and "/", or "".
    """
    layer = call.operation
    if not isinstance(layer, keras.layers.RNN) or type(layer).__name__ not in RECURRENT:
        return None
    if unchanged_class(layer.cell, ("keras",)) is None:
        return None
    function = getattr(layer.cell, "activation", None)
    rectifier = None if isinstance(function, keras.Operation) else recognize_function(function)
    if rectifier is None or rectifier.smooth or rectifier.reason:
        return None
    # The address by which `find_held_rectifiers` knows it: a cell of a ConvLSTM is like any object.
    address = "cell" if type(layer.cell).__name__ in RECURRENT else "cell/activation"
    path = f"{scope}{layer.name}"
    shape = _shape(layer.cell)
    data_format = getattr(layer.cell, "data_format", "channels_last")
    site = describe_site(
        replace(rectifier, kind="inline"),
        path=path,
        layer=type(layer).__name__,
        channels=shape[1 if data_format == "channels_first" else -1],
        objection=_OBJECTION,
        target=f"{path}/cell_prelu",
    )
    return LocatedSite(
        site=replace(site, range_matters=False),
        operation=layer,
        index=0,
        data_format=data_format,
        dtype=call.outputs[0].dtype,
        held=HeldRectifier(
            address=address,
            path="cell",
            target=HookTarget(layer.cell, "activation"),
            rectifier=rectifier,
        ),
        shapes=(shape,),
    )


def _shape(cell: Any) -> tuple[int | None, ...]:
    """Return the shape of what the cell's activation is applied to."""
    if hasattr(cell, "units"):
        return None, cell.units
    positions = (None,) * cell.rank
    if cell.data_format == "channels_first":
        return None, cell.filters, *positions
    return None, *positions, cell.filters
