"""Checks of a model before and after its conversion."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.conversion.prelu_factory import PReLUFactory, has_own_slope
from keras_prelu.errors import ConversionError, InvalidArgumentError
from keras_prelu.graph.leaves import has_class_of_its_own, is_taken_apart
from keras_prelu.sites.site import LocatedSite
from keras_prelu.utils.user_warnings import warn

__all__ = [
    "NEARLY_EXACT_CHANGE",
    "first_nonfinite_weight",
    "refuse_change_without_samples",
    "refuse_quantized_layers",
    "warn_of_lost_classes",
    "warn_of_nonfinite_weights",
]

NEARLY_EXACT_CHANGE = 1e-3
"""The largest change of a slope that is made without samples and without a word.

It is the slope at which `parameterization="positive"` starts.
"""


def refuse_change_without_samples(
    selected_sites: Sequence[LocatedSite], factory: PReLUFactory
) -> None:
    """Check that a conversion changes no slope by more than `NEARLY_EXACT_CHANGE`.

    Args:
        selected_sites: Sequence of `LocatedSite`. The sites that are converted.
        factory: `PReLUFactory` of the new layers.

    Raises:
        InvalidArgumentError: A slope changes by more, or a site is smooth.
    """
    for located in selected_sites:
        site = located.site
        if factory.slope_change(site) <= NEARLY_EXACT_CHANGE:
            continue
        if site.is_smooth:
            reason = f"Site '{site.path}' is smooth, and no PReLU computes the same"
            exact = "leave it out (include, --include)"
        elif has_own_slope(site):
            reason = f"New slopes at '{site.path}', which has its own, change the model's outputs"
            exact = "keep the slopes (keep_slopes, --keep-slopes)"
        else:
            slope = factory.new_slopes.slope
            reason = f"A slope of {slope:g} at '{site.path}' changes the model's outputs"
            exact = "leave out alpha and parameterization"
        raise InvalidArgumentError(
            f"{reason}. Give unlabeled samples (calibration_data, --data), so that layers are"
            f" refitted; or {exact}, for an exact conversion; or do without samples by naming"
            ' rescale="moments" or "none" (--rescale).'
        )


def refuse_quantized_layers(model: keras.Model) -> None:
    """Check that no layer of a model is quantized.

    Raises:
        ConversionError: A layer is quantized.
    """
    for layer in sublayers(model):
        mode = getattr(layer, "quantization_mode", None)
        if mode:
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__}) is quantized ({mode}): its weights"
                " can't be rescaled. Convert the model before it is quantized."
            )


def warn_of_nonfinite_weights(model: keras.Model) -> None:
    """Warn if a weight of a model is NaN or infinite, naming the first such variable."""
    path = first_nonfinite_weight(model)
    if path is not None:
        warn(
            f"The weights '{path}' hold NaN or infinite values: the outputs of the model, converted"
            " or not, may be NaN or infinite too.",
        )


def first_nonfinite_weight(model: keras.Model) -> str | None:
    """Return the path of the first variable of a model with NaN or infinite values, or None."""
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype) and not _is_finite(variable):
            return str(variable.path)
    return None


def _is_finite(variable: keras.Variable) -> bool:
    # A finite mean proves that all values are finite, without a copy to the host. The mean of
    # finite values can overflow, so a mean that is not finite proves nothing.
    return bool(keras.ops.isfinite(keras.ops.mean(variable))) or bool(
        np.isfinite(keras.ops.convert_to_numpy(variable)).all()
    )


def warn_of_lost_classes(model: keras.Model) -> None:
    """Warn of models of a custom class that are converted to plain functional models."""
    lost = [
        layer
        for layer in (model, *sublayers(model))
        if is_taken_apart(layer) and has_class_of_its_own(layer)
    ]
    if lost:
        names = ", ".join(f"'{layer.name}' ({type(layer).__name__})" for layer in lost)
        warn(
            f"Converted as a graph: {names}. The new model computes what the class did, but is a"
            " plain functional model: methods and training steps of the class are not kept.",
        )
