"""Exchanging the rectifiers of a model for PReLU layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import keras

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.freezing import train_slopes
from keras_prelu.conversion.prelu_factory import PReLUFactory, copy_slopes
from keras_prelu.conversion.replacements import Replacements
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.sites.prelu_layers import layers_at
from keras_prelu.sites.site import LocatedSite, unique_name
from keras_prelu.utils.user_warnings import warn

__all__ = ["exchange_rectifiers", "train_new_slopes"]


def exchange_rectifiers(
    model: keras.Model, selected_sites: Sequence[LocatedSite], factory: PReLUFactory
) -> keras.Model:
    """Return a copy of a model that applies a PReLU layer at each selected site."""
    replacements = Replacements()
    taken = {layer.name for layer in sublayers(model)}
    taken.update(located.site.target for located in selected_sites)
    for located in selected_sites:
        _add_replacement(replacements, located, factory)
        if located.site.target == located.operation.name:
            # Other calls of the layer may stay, and the name is the new layer's.
            kept_name = unique_name(f"{located.operation.name}_relu", taken)
            replacements.rename(located.operation, kept_name)
    converted = rewrite(model, replacements)
    if factory.keep_slopes:
        learned = [each for each in selected_sites if each.site.negative_slope is None]
        layers = layers_at(converted, (located.site.target for located in learned))
        for located in learned:
            copy_slopes(layers[located.site.target], located.owner)
    return converted


def _add_replacement(
    replacements: Replacements, located: LocatedSite, factory: PReLUFactory
) -> None:
    operation, kind = located.operation, located.site.kind
    make = partial(factory.make, located)
    if located.held is not None:
        make_built = partial(factory.make_built, located)
        replacements.replace_held(operation, located.held.address, make_built)
    elif kind == "inline":
        replacements.replace_activation(operation, make)
    elif kind == "prelu":  # All calls of a stock PReLU share its slopes.
        replacements.replace_operation(operation, make)
    else:
        replacements.replace_call(operation, located.index, make)


def train_new_slopes(converted: keras.Model, selected_sites: Sequence[LocatedSite]) -> None:
    """Make the new layers trainable, and warn of those that have to stay frozen."""
    layers = layers_at(converted, (located.site.target for located in selected_sites))
    still_frozen = train_slopes(converted, {id(layer) for layer in layers.values()})
    if still_frozen:
        warn(
            f"Slopes inside {', '.join(map(repr, still_frozen))} stay frozen with the layer: its"
            " configuration has one flag for the whole layer.",
        )
