"""The slopes of converted smooth activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import keras

from keras_prelu.calibration.config import CalibrationConfig
from keras_prelu.calibration.layerwise import LayerwiseCalibrator, Progress
from keras_prelu.calibration.memory_plan import plan_memory
from keras_prelu.calibration.model_pair import ModelPair
from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.calibration.slope_search import candidate_slopes
from keras_prelu.calibration.smooth_slopes import Smooth, fit_smooth_slopes
from keras_prelu.calibration.threshold_search import set_slope
from keras_prelu.conversion.arguments import LARGEST_SLOPE
from keras_prelu.graph.saved_weights import restored_on_failure
from keras_prelu.layers import PReLU
from keras_prelu.sites.prelu_layers import layers_at
from keras_prelu.sites.site import LocatedSite

__all__ = ["fit_smooth_sites", "unavoidable_error"]


def fit_smooth_sites(
    converted: keras.Model,
    pair: ModelPair,
    samples: CalibrationSamples,
    selected_sites: Sequence[LocatedSite],
    config: CalibrationConfig,
) -> dict[str, float]:
    """Fit the slopes of the PReLU layers that replace smooth activations, in place.

    Args:
        converted: `keras.Model`. It is neither rescaled nor calibrated yet.
        pair: `ModelPair` of the original and `converted`.
        samples: `CalibrationSamples`.
        selected_sites: Sequence of `LocatedSite`. The sites that were converted.
        config: `CalibrationConfig`.

    Returns:
        A dict from path to the mean of the layer's slopes, as of `fit_smooth_slopes`.
    """
    layers = layers_at(converted, (located.site.target for located in selected_sites))
    replaced = {
        located.site.target: Smooth(layer=layers[located.site.target], function=located.function)
        for located in selected_sites
        if located.site.is_smooth
    }
    if not replaced:
        return {}
    batch_size = plan_memory(pair, samples.arrays, config).batch_size
    return fit_smooth_slopes(pair.plan, samples.arrays, replaced, batch_size=batch_size)


def unavoidable_error(
    pair: ModelPair,
    samples: CalibrationSamples,
    searched: Iterable[PReLU],
    config: CalibrationConfig,
    on_step: Progress | None,
) -> float:
    """Return the error that smooth activations cost, however small the slopes at other sites are.

    The converted model is calibrated with the smallest slopes there, and restored.

    Args:
        pair: `ModelPair`.
        samples: `CalibrationSamples`.
        searched: Iterable of `PReLU`. The layers at the other sites.
        config: `CalibrationConfig`.
        on_step: Function or None. As in `calibrate`.
    """
    with restored_on_failure(pair.converted.variables) as saved:
        for layer in searched:
            set_slope(layer, candidate_slopes(LARGEST_SLOPE)[0])
        error = LayerwiseCalibrator(pair, samples, config).run(on_step).error_after
        saved.restore()
    return error
