"""Conversion of a model in place, for models that can't be rebuilt from a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import keras

from keras_prelu.backend.keras_internals import EXECUTION_FUNCTIONS
from keras_prelu.backend.variables import assign_copy
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.conversion.arguments import (
    RESCALES,
    RESCALES_ON_SAMPLES,
    ConversionArguments,
    given_arguments,
)
from keras_prelu.conversion.compile_settings import copy_compile_settings
from keras_prelu.conversion.prelu_factory import PReLUFactory, copy_slopes
from keras_prelu.conversion.preparation import prepare_conversion
from keras_prelu.conversion.rescaling import (
    Conversion,
    RescalingSettings,
    SampleUse,
    measured,
    rescaled_on_samples,
)
from keras_prelu.conversion.verification import activation_of_site, verify_probe
from keras_prelu.custom_layers.converted_layer import attach, detach, is_converted
from keras_prelu.custom_layers.stand_in import StandIn
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph import functional
from keras_prelu.graph.duplicates import duplicate
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.leaves import is_taken_apart
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.layers import PReLU
from keras_prelu.sites.finder import locate_sites_in_place
from keras_prelu.sites.site import LocatedSite

__all__ = ["convert_in_place"]

_Exchange = tuple[LocatedSite, PReLU]
"""A site, and the layer that takes its place."""


@keeps_state("model")
def convert_in_place(
    model: keras.Model, arguments: ConversionArguments, calibration_data: Any
) -> keras.Model:
    """Exchange the rectifiers of a model for PReLU layers in the model itself.

    With samples, a duplicate of the model is the original that it is calibrated to. If anything
    fails, the model is as it was.

    Args:
        model: `keras.Model`. A built model.
        arguments: `ConversionArguments`, with a `rescale` of "auto", "none", "calibrated" or
            "distilled".
        calibration_data: As in `convert`.

    Returns:
        `model`.

    Raises:
        InvalidArgumentError, ConversionError, CalibrationError, DataError: As in `convert`.
    """
    for name, value in given_arguments(arguments, ("to", "train_frozen_slopes")).items():
        raise InvalidArgumentError(
            f"`{name}` can't be combined with in_place=True: leave out one of them. Received:"
            f" {name}={value!r}"
        )
    if functional.is_sequence(model) or is_taken_apart(model):
        raise InvalidArgumentError(
            f"Model '{model.name}' is a graph of layers, of which `convert` makes a converted copy:"
            " leave out in_place."
        )
    rescale = arguments.rescale
    if rescale in RESCALES and rescale not in ("auto", "none", *RESCALES_ON_SAMPLES):
        raise InvalidArgumentError(
            f'rescale="{rescale}" is for a graph of layers, and can\'t be combined with'
            ' in_place=True. Use "auto", "none", "calibrated" or "distilled".'
        )
    use = SampleUse()
    prepared = prepare_conversion(model, arguments, locate_sites_in_place, calibration_data, use)
    factory, selected, samples = prepared.factory, prepared.selected_sites, prepared.samples
    if arguments.verify:
        exchanges = _exchanges(selected, factory)
        with _as_in_original(exchanges) as put_in_place:
            verify_probe(model, put_in_place, prepared.structure)
    uncapped = frozenset(cap.path for cap in prepared.caps(model) if cap.removed)
    exchanges = _exchanges(selected, replace(factory, uncapped=uncapped))
    original = None if samples is None else duplicate(model)
    with _attached(model, exchanges, original):
        if original is not None and samples is not None:
            _rescale(
                Conversion(model=model, sites=tuple(located.site for located in selected)),
                original,
                samples,
                prepared.rescaling_settings(use),
            )
    _forget_compiled_functions(model)
    copy_compile_settings(model, model)
    return model


@contextmanager
def _attached(
    model: keras.Model, exchanges: Sequence[_Exchange], original: keras.Model | None
) -> Iterator[None]:
    """Exchange rectifiers for layers in a model; for good, unless the context ends with an error.

    Args:
        model: `keras.Model`.
        exchanges: Sequence of sites with the layers that take their place.
        original: `keras.Model` or None. A duplicate that has the weights to restore.
    """
    kept = list(model._stand_ins) if is_converted(model) else []
    attach(model, _by_address(exchanges))
    try:
        yield
    except BaseException:
        detach(model, kept)
        if original is not None:
            for source, target in zip(original.variables, model.variables, strict=True):
                assign_copy(target, source)
        raise


def _rescale(
    conversion: Conversion,
    original: keras.Model,
    samples: CalibrationSamples,
    settings: RescalingSettings,
) -> None:
    """Restore the function of a model that was converted in place, or measure its error."""
    if settings.method not in RESCALES_ON_SAMPLES:
        measured(conversion, original, samples, settings.use.config.batch_size)
        return
    sites = locate_sites_in_place(original)
    converted = {site.path for site in conversion.sites}
    rescaled_on_samples(
        conversion,
        ModelPair(original, conversion.model, samples, sites),
        samples,
        [located for located in sites if located.site.path in converted],
        settings,
    )


def _exchanges(selected: Sequence[LocatedSite], factory: PReLUFactory) -> list[_Exchange]:
    return [(located, _new_layer(located, factory)) for located in selected]


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
    for name in EXECUTION_FUNCTIONS:
        setattr(model, name, None)
