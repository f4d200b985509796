"""Conversion of a model in place, for models that can't be rebuilt from a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from keras_prelu.conversion.arguments import RESCALES, check_arguments, choose_slopes
from keras_prelu.conversion.compile_settings import copy_compile_settings
from keras_prelu.conversion.model_checks import (
    refuse_change_without_samples,
    refuse_quantized_layers,
    warn_of_nonfinite_weights,
)
from keras_prelu.conversion.prelu_factory import PReLUFactory, copy_slopes
from keras_prelu.conversion.verification import activation_of_site, verify_probe
from keras_prelu.custom_layers.converted_layer import StandIn, attach
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.layers import PReLU
from keras_prelu.sites.finder import locate_sites_in_place
from keras_prelu.sites.selection import Selector, select
from keras_prelu.sites.site import LocatedSite

__all__ = ["convert_in_place", "refuse_in_place"]

_Exchange = tuple[LocatedSite, PReLU]
"""A site, and the layer that takes its place."""


@keeps_state("model")
def convert_in_place(
    model: keras.Model,
    *,
    alpha: float | str | None,
    parameterization: Any,
    shared_axes: Any,
    alpha_regularizer: Any,
    beta_regularizer: Any,
    rescale: str,
    include: Selector,
    exclude: Selector,
    keep_slopes: bool,
    verify: bool,
) -> keras.Model:
    """Exchange the rectifiers of a model for PReLU layers in the model itself.

    If anything fails, the model is as it was.

    Args:
        model: `keras.Model`. A built model.
        alpha: As in `convert`, like all other arguments.
        parameterization: As in `convert`.
        shared_axes: As in `convert`.
        alpha_regularizer: As in `convert`.
        beta_regularizer: As in `convert`.
        rescale: "auto" or "none".
        include: As in `convert`.
        exclude: As in `convert`.
        keep_slopes: As in `convert`.
        verify: As in `convert`.

    Returns:
        `model`.

    Raises:
        InvalidArgumentError, ConversionError: As in `convert`.
    """
    if isinstance(model, keras.Sequential) or is_taken_apart(model):
        raise InvalidArgumentError(
            f"Model '{model.name}' is a graph of layers, of which `convert` makes a converted copy:"
            " leave out in_place."
        )
    if rescale in RESCALES and rescale not in ("auto", "none"):
        raise InvalidArgumentError(
            f'rescale="{rescale}" can\'t be combined with in_place=True, after which there is no'
            ' original to restore the function of. Use "auto" or "none".'
        )
    check_arguments(alpha=alpha, tolerance=None, rescale=rescale, has_samples=False)
    factory = PReLUFactory(
        new_slopes=choose_slopes(alpha, parameterization, rescale, has_samples=False),
        shared_axes=shared_axes,
        alpha_regularizer=alpha_regularizer,
        beta_regularizer=beta_regularizer,
        keep_slopes=keep_slopes,
    )
    selected = select(locate_sites_in_place(model), model, include, exclude)
    if rescale == "auto":
        refuse_change_without_samples(selected, factory)
    refuse_quantized_layers(model)
    warn_of_nonfinite_weights(model)
    exchanges = [(located, _new_layer(located, factory)) for located in selected]
    if verify:
        with _as_in_original(exchanges) as put_in_place:
            verify_probe(model, put_in_place)
    attach(model, _by_address(exchanges))
    _forget_compiled_functions(model)
    copy_compile_settings(model, model)
    return model


def refuse_in_place(**arguments: Any) -> None:
    """Check that no argument of `convert` is given that a conversion in place can't follow.

    Args:
        **arguments: The arguments, None where they are not given.

    Raises:
        InvalidArgumentError: One is given.
    """
    for name, value in arguments.items():
        if value is not None:
            raise InvalidArgumentError(
                f"`{name}` can't be combined with in_place=True: the model is converted exactly,"
                " and there is no original beside it. Give its class a get_config(), and leave out"
                " in_place."
            )


def _new_layer(located: LocatedSite, factory: PReLUFactory) -> PReLU:
    layer = factory.make_built(located)
    if located.site.negative_slope is None and factory.keep_slopes:
        copy_slopes(layer, located.owner)
    layer.trainable = bool(getattr(located.owner, "trainable", True))
    return layer


def _by_address(exchanges: Sequence[_Exchange]) -> dict[str, list[PReLU]]:
    layers: dict[str, list[PReLU]] = {}
    for located, layer in exchanges:
        assert located.held is not None
        layers.setdefault(located.held.address, []).append(layer)
    return layers


@contextmanager
def _as_in_original(exchanges: Sequence[_Exchange]) -> Iterator[Any]:
    """Yield a function that puts the layers in place until the context ends.

    They compute what the rectifiers do.
    """
    targets = {
        located.held.address: located.held.target for located, _ in exchanges if located.held
    }
    with ExitStack() as undo:
        for located, layer in exchanges:
            activation = activation_of_site(layer, located)
            undo.callback(set_target(HookTarget(layer, "_activate"), activation))

        def put_in_place() -> None:
            for address, layers in _by_address(exchanges).items():
                undo.callback(set_target(targets[address], StandIn(address, layers)))

        yield put_in_place


def _forget_compiled_functions(model: keras.Model) -> None:
    """Let `fit`, `evaluate` and `predict` compile their functions anew."""
    for name in ("train_function", "test_function", "predict_function"):
        setattr(model, name, None)
