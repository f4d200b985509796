"""What a conversion to PReLU decides before it makes or changes a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.conversion.arguments import (
    ConversionArguments,
    check_arguments,
    choose_method,
    choose_slopes,
)
from keras_prelu.conversion.cap_removal import Cap, judged_caps
from keras_prelu.conversion.model_checks import (
    refuse_change_without_samples,
    refuse_quantized_layers,
    warn_of_nonfinite_weights,
)
from keras_prelu.conversion.prelu_factory import PReLUFactory
from keras_prelu.conversion.profiles import ConversionProfile, get_profile
from keras_prelu.conversion.rescaling import RescalingSettings, SampleUse
from keras_prelu.sites.selection import select
from keras_prelu.sites.site import LocatedSite

__all__ = ["PreparedConversion", "prepare_conversion"]


@dataclass(frozen=True, kw_only=True)
class PreparedConversion:
    """The decisions of a conversion to PReLU.

    Attributes:
        arguments: `ConversionArguments`.
        method: String. How the model's function is restored: one of `RESCALES` but "auto".
        profile: `ConversionProfile` or None.
        factory: `PReLUFactory` of the new layers.
        sites: List of `LocatedSite`. All sites of the model.
        selected_sites: List of `LocatedSite`. Those to convert.
        samples: `CalibrationSamples` or None.
    """

    arguments: ConversionArguments
    method: str
    profile: ConversionProfile | None
    factory: PReLUFactory
    sites: list[LocatedSite]
    selected_sites: list[LocatedSite]
    samples: CalibrationSamples | None

    @property
    def new_layers(self) -> list[str]:
        """The paths of the layers that get new slopes."""
        return [
            located.site.target
            for located in self.selected_sites
            if not self.factory.keeps_slopes_of(located.site)
        ]

    @property
    def structure(self) -> Any:
        """The samples as the model takes them, or None without samples."""
        return None if self.samples is None else self.samples.structure

    def caps(self, model: keras.Model) -> tuple[Cap, ...]:
        """Return what the profile says of the caps of sites; none without a profile."""
        if self.profile is None:
            return ()
        share = self.profile.largest_clipped_share
        return judged_caps(model, self.selected_sites, self.samples, share)

    def rescaling_settings(self, use: SampleUse) -> RescalingSettings:
        """Return how the function of the model is restored on samples."""
        return RescalingSettings(
            method=self.method,
            new_slopes=self.factory.new_slopes,
            new_layers=self.new_layers,
            tolerance=self.arguments.tolerance,
            verify=self.arguments.verify,
            use=use,
        )


def prepare_conversion(
    model: keras.Model,
    arguments: ConversionArguments,
    locate: Callable[[keras.Model], list[LocatedSite]],
    calibration_data: Any,
    use: SampleUse,
) -> PreparedConversion:
    """Check the arguments, the model and the samples of a conversion, and decide what it does.

    Args:
        model: `keras.Model`. The model to convert.
        arguments: `ConversionArguments`.
        locate: Function that returns the sites of a model.
        calibration_data: Samples as in `convert`, or None.
        use: `SampleUse`.

    Raises:
        InvalidArgumentError, ConversionError, CalibrationError, DataError: As in `convert`.
    """
    rescale, has_samples = arguments.rescale, calibration_data is not None
    check_arguments(arguments, has_samples=has_samples)
    profile = get_profile(arguments.profile)
    factory = _choose_factory(profile, arguments, has_samples=has_samples)
    sites = locate(model)
    selected_sites = select(sites, model, arguments.include, arguments.exclude)
    if rescale == "auto" and not has_samples:
        refuse_change_without_samples(selected_sites, factory)
    refuse_quantized_layers(model)
    warn_of_nonfinite_weights(model)
    return PreparedConversion(
        arguments=arguments,
        method=choose_method(rescale, has_samples=has_samples),
        profile=profile,
        factory=factory,
        sites=sites,
        selected_sites=selected_sites,
        samples=use.checked(model, calibration_data),
    )


def _choose_factory(
    profile: ConversionProfile | None, arguments: ConversionArguments, *, has_samples: bool
) -> PReLUFactory:
    """Return the factory for the arguments, within a profile if there is one."""
    shared_axes, parameterization = arguments.shared_axes, arguments.parameterization
    if profile is not None:
        shared_axes = profile.axes(shared_axes)
        parameterization = profile.parameterization(parameterization)
    new_slopes = choose_slopes(
        arguments.alpha, parameterization, arguments.rescale, has_samples=has_samples
    )
    return PReLUFactory(
        new_slopes=new_slopes if profile is None else profile.bounded(new_slopes),
        shared_axes=shared_axes,
        alpha_regularizer=arguments.alpha_regularizer,
        beta_regularizer=arguments.beta_regularizer,
        keep_slopes=arguments.keep_slopes,
    )
