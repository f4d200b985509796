"""Restoring the function of a converted model without samples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import keras

from keras_prelu.calibration.slope_search import set_slope
from keras_prelu.conversion.arguments import SAFE_SLOPE, RescalingDecision, limit_slope
from keras_prelu.errors import KerasPReLUWarning
from keras_prelu.graph import functional
from keras_prelu.scaling.analytic import rescale_analytic
from keras_prelu.scaling.moments import UNKNOWN, rescale_moments
from keras_prelu.sites.prelu_layers import layer_at

__all__ = ["rescale_without_samples"]


def rescale_without_samples(
    converted: keras.Model, new_slopes: Sequence[str], decision: RescalingDecision
) -> None:
    """Rescale a converted model, in place, as decided.

    Args:
        converted: `keras.Model`. The converted model.
        new_slopes: Sequence of strings. Paths of the PReLU layers whose slopes are new.
        decision: `RescalingDecision`. Its method is "none", "analytic" or "moments".
    """
    if decision.method == "analytic":
        rescale_analytic(converted, new_slopes)
    elif decision.method == "moments" and decision.is_cautious:
        _rescale_cautiously(converted, new_slopes, decision)
    elif decision.method == "moments":
        rescale_moments(converted, new_slopes)


def _rescale_cautiously(
    converted: keras.Model, new_slopes: Sequence[str], decision: RescalingDecision
) -> None:
    """Rescale by moments, lower the slopes further if no statistics are known, and warn."""
    has_graph = functional.has_graph(converted)
    records = rescale_moments(converted, new_slopes) if has_graph else []
    if not new_slopes:
        return
    rescaled = {record.path for record in records if record.action != UNKNOWN}
    unknown = [path for path in new_slopes if path not in rescaled]
    for path in unknown:
        set_slope(layer_at(converted, path), limit_slope(decision.requested_slope, SAFE_SLOPE))
    _warn_of_limited_slopes(decision, unknown=len(unknown), total=len(new_slopes))


def _warn_of_limited_slopes(decision: RescalingDecision, *, unknown: int, total: int) -> None:
    safe_slope = limit_slope(decision.requested_slope, SAFE_SLOPE)
    if unknown == total:
        slopes = f"{safe_slope:g}"
    elif unknown:
        slopes = (
            f"{decision.slope:g}, and {safe_slope:g} at {unknown} of {total} sites without known"
            " statistics,"
        )
    else:
        slopes = f"{decision.slope:g}"
    warnings.warn(
        f"No samples to calibrate with: the new slopes start at {slopes} instead of"
        f" {decision.requested_slope:g}, so that the model still works. Give unlabeled samples"
        ' (calibration_data, --data) for larger slopes, or rescale="none" to set all slopes as'
        " requested.",
        KerasPReLUWarning,
        stacklevel=7,
    )
