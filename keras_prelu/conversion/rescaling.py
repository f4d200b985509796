"""The record of a conversion, and the rescaling of a converted model on samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from keras_prelu.calibration.config import CalibrationConfig, DistillationConfig
from keras_prelu.calibration.distillation import distill_pair
from keras_prelu.calibration.layerwise import LayerwiseCalibrator, Progress
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.records import Calibration, Distillation
from keras_prelu.calibration.samples import CalibrationSamples, check_samples
from keras_prelu.calibration.slope_search import ERROR_BUDGET, SlopeSearch, search_slopes
from keras_prelu.calibration.verification import (
    check_steps,
    error_note,
    large_error_note,
    output_error,
)
from keras_prelu.conversion.arguments import LARGEST_SLOPE, NewSlopes
from keras_prelu.conversion.cap_removal import Cap
from keras_prelu.conversion.smooth_site_slopes import fit_smooth_sites, unavoidable_error
from keras_prelu.conversion.verification import Verification
from keras_prelu.sites.prelu_layers import layers_at
from keras_prelu.sites.site import LocatedSite, Site
from keras_prelu.utils.user_warnings import warn

__all__ = [
    "Conversion",
    "RescalingSettings",
    "SampleUse",
    "calibrated",
    "distilled",
    "measured",
    "rescaled_on_samples",
]


@dataclass(frozen=True)
class Conversion:
    """A converted model, and the record of its conversion.

    Attributes:
        model: `keras.Model`. The converted model.
        sites: Tuple of `Site`. The sites of the original that were converted, in execution order;
            `site.target` is the path of the new layer.
        calibration: `Calibration` of the model, or None if the model is not calibrated.
        slope_search: `SlopeSearch` that set the slopes, or None if `alpha` is a number.
        verification: `Verification`, the comparison of both models at the original's slopes, or
            None with `verify=False`.
        error: Float or None. Mean squared change of the model's outputs by the conversion, divided
            by their variance: on held-out samples after a calibration, else on all samples. None
            without samples.
        note: String. What was warned of because the error is large, or "".
        distillation: `Distillation` of the calibrated model, or None if the model is not distilled.
        fitted_slopes: Dict from the path of each layer whose slopes were fitted to what it
            replaces, a smooth activation or, with `to`, a PReLU, to their mean. Empty without such
            layers.
        caps: Tuple of `Cap`. What a profile found of the caps of sites; empty without a profile.
        is_exact: Boolean. Whether each layer has the slopes and the cap of the rectifier that it
            replaces, and no layer was refitted, so that nothing but rounding changes the outputs.
    """

    model: keras.Model
    sites: tuple[Site, ...]
    calibration: Calibration | None = None
    slope_search: SlopeSearch | None = None
    verification: Verification | None = None
    error: float | None = None
    note: str = ""
    distillation: Distillation | None = None
    fitted_slopes: Mapping[str, float] = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()
    is_exact: bool = False


@dataclass(frozen=True, kw_only=True)
class SampleUse:
    """How a conversion uses the samples that it is given.

    Attributes:
        max_samples: Integer or None. As in `run_conversion`.
        config: `CalibrationConfig`.
        distillation: `DistillationConfig`.
        on_step: Function or None. As in `run_conversion`.
    """

    max_samples: int | None = None
    config: CalibrationConfig = field(default_factory=CalibrationConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    on_step: Progress | None = None

    def checked(self, original: keras.Model, calibration_data: Any) -> CalibrationSamples | None:
        """Return samples that are checked to fit a model, or None without any."""
        if calibration_data is None:
            return None
        return check_samples(
            original, calibration_data, max_samples=self.max_samples, seed=self.config.seed
        )


@dataclass(frozen=True, kw_only=True)
class RescalingSettings:
    """How the function of a conversion is restored on samples.

    Attributes:
        method: String. "calibrated" or "distilled".
        new_slopes: `NewSlopes` of the conversion.
        new_layers: Sequence of strings. Paths of the layers that have them.
        tolerance: Float or None. As in `convert`.
        verify: Boolean. As in `convert`.
        use: `SampleUse`.
    """

    method: str
    new_slopes: NewSlopes
    new_layers: Sequence[str]
    tolerance: float | None
    verify: bool
    use: SampleUse


def rescaled_on_samples(
    conversion: Conversion,
    pair: ModelPair,
    samples: CalibrationSamples,
    selected_sites: Sequence[LocatedSite],
    settings: RescalingSettings,
) -> Conversion:
    """Restore the function of a conversion in place, and return it with the records.

    Args:
        conversion: `Conversion`.
        pair: `ModelPair` of the original and the converted model.
        samples: `CalibrationSamples`.
        selected_sites: Sequence of `LocatedSite`. The sites of the original that were converted.
        settings: `RescalingSettings`.
    """
    if settings.verify:
        check_steps(pair, samples)
    use, config = settings.use, settings.use.config
    searched = settings.new_layers if settings.new_slopes.are_searched else []
    if settings.new_slopes.are_fitted:
        fitted = fit_smooth_sites(conversion.model, pair, samples, selected_sites, config)
        conversion = replace(conversion, fitted_slopes=fitted)
        searched = [path for path in searched if path not in fitted]
    conversion = calibrated(conversion, pair, samples, use, searched, settings.tolerance)
    if settings.method == "distilled":
        conversion = distilled(conversion, pair, samples, use)
    if conversion.note:
        warn(conversion.note)
    return conversion


def calibrated(
    conversion: Conversion,
    pair: ModelPair,
    samples: CalibrationSamples,
    use: SampleUse,
    searched_slopes: Sequence[str] = (),
    tolerance: float | None = None,
) -> Conversion:
    """Calibrate a conversion in place, and return it with the records.

    Args:
        searched_slopes: Sequence of strings. Paths of the PReLU layers whose slopes are searched.
    """
    config, on_step, slope_search = use.config, use.on_step, None
    if searched_slopes:
        searched = layers_at(conversion.model, searched_slopes)
        if conversion.fitted_slopes:
            cost = unavoidable_error(pair, samples, searched.values(), config, on_step)
            tolerance = cost + (ERROR_BUDGET if tolerance is None else tolerance)
        slope_search = search_slopes(
            pair,
            samples,
            searched,
            config,
            tolerance=tolerance,
            largest=LARGEST_SLOPE,
            on_step=on_step,
        )
        calibration = slope_search.calibration
    else:
        calibration = LayerwiseCalibrator(pair, samples, config).run(on_step)
    return replace(
        conversion,
        calibration=calibration,
        slope_search=slope_search,
        error=calibration.error_after,
        note=large_error_note(
            calibration, _remedy(conversion, 'Distillation (rescale="distilled", --distill 8)')
        ),
    )


def distilled(
    conversion: Conversion,
    pair: ModelPair,
    samples: CalibrationSamples,
    use: SampleUse,
) -> Conversion:
    """Distill a calibrated conversion in place, and return it with the record."""
    distillation = distill_pair(pair, samples, use.config, use.distillation, use.on_step)
    return replace(
        conversion,
        distillation=distillation,
        error=distillation.error_after,
        note=large_error_note(distillation, _remedy(conversion, "Fine-tuning")),
    )


def _remedy(conversion: Conversion, without_slopes: str) -> str:
    """Return what helps first against a large error.

    Args:
        conversion: `Conversion`.
        without_slopes: String. What helps where the slopes are fitted to smooth activations.
    """
    return without_slopes if conversion.fitted_slopes else "Smaller slopes (alpha, --alpha)"


def measured(
    conversion: Conversion,
    original: keras.Model,
    samples: CalibrationSamples,
    batch_size: int | None,
) -> Conversion:
    """Return a conversion that is not calibrated with its error on samples, and warn of it."""
    error = output_error(original, conversion.model, samples, batch_size=batch_size)
    note = error_note(error, "") if conversion.fitted_slopes else error_note(error)
    if note:
        warn(note)
    return replace(conversion, error=error, note=note)
