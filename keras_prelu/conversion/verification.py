"""Verification of copies of a model: whether they predict what the model predicts.

A conversion is verified before any rescaling, with the function of the original at each new slope,
so that nothing but rounding may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from keras_prelu.conversion.first_difference import (
    Comparison,
    OverflowedError,
    Verification,
    is_finite,
    not_made,
)
from keras_prelu.errors import ConversionError, reason_of
from keras_prelu.graph.hooks import HookTarget, set_target
from keras_prelu.graph.parts import is_container, parts_of
from keras_prelu.layers import PReLU
from keras_prelu.ops import capped, prelu
from keras_prelu.sites.prelu_layers import layers_at
from keras_prelu.sites.site import LocatedSite
from keras_prelu.typing import Tensor
from keras_prelu.utils.user_warnings import warn
from keras_prelu.verification.agreement import (
    SAME_OPERATIONS,
    coarsest_epsilon,
    prediction_difference,
)
from keras_prelu.verification.prediction import predict_once
from keras_prelu.verification.probes import Probe, probe, probe_with

__all__ = [
    "Verification",
    "activation_of_site",
    "refuse_nonfinite",
    "verify_conversion",
    "verify_probe",
    "warn_of_no_verification",
]

_SCALES = (1.0, 1e-2, 1e-4)
"""The scales of drawn inputs that are tried."""


def verify_conversion(
    original: keras.Model,
    converted: keras.Model,
    selected_sites: Sequence[LocatedSite],
    new_slopes: Sequence[str],
    samples: Any = None,
) -> Verification:
    """Check that a converted model predicts what its original does.

    Inputs that are drawn may overflow in the model, more so in half precision. They are then drawn
    again, of smaller magnitudes.

    Args:
        original: `keras.Model`.
        converted: `keras.Model`. It is not rescaled yet.
        selected_sites: Sequence of `LocatedSite`. The sites that were converted.
        new_slopes: Sequence of strings. Paths of the PReLU layers with new slopes, which compute
            for the comparison what the original's rectifiers do.
        samples: Array, or list or dict of arrays, in the structure that the models take. Defaults
            to None: inputs are drawn.

    Returns:
        A `Verification`.

    Raises:
        ConversionError: The predictions differ by more than rounding. The message names the first
            layer that computes something else, and says what to exclude.
    """
    by_path = {located.site.target: located for located in selected_sites}
    replaced = {path: by_path[path] for path in new_slopes}
    with _as_in_original(converted, replaced):
        pairs = zip(_with_outputs(original), _with_outputs(converted), strict=True)
        records = [_verify(one, other, selected_sites, samples) for one, other in pairs]
    records += [not_made(obstacle, drawn=samples is None) for obstacle in _uncalled(original)]
    # A record of several has what is worst.
    return max(records, key=lambda record: (bool(record.obstacle), record.largest_difference))


def _with_outputs(model: keras.Model) -> list[keras.Model]:
    """Return a model, or the models that a model without a `call` holds."""
    if not is_container(model):
        return [model]
    return [part for part in parts_of(model) if isinstance(part, keras.Model)]


def _uncalled(model: keras.Model) -> list[str]:
    """Return why each layer is not verified that a model without a `call` holds beside models."""
    parts = parts_of(model) if is_container(model) else []
    return [
        f"'{part.name}' is a layer of a model without a `call`, with inputs that are not known"
        for part in parts
        if not isinstance(part, keras.Model)
    ]


def _verify(
    original: keras.Model,
    converted: keras.Model,
    selected_sites: Sequence[LocatedSite],
    samples: Any,
) -> Verification:
    for scale in _SCALES:
        found = _probe_original(original, samples, scale)
        if isinstance(found, str):
            return _no_probe(found, samples)
        try:
            return Comparison(original, converted, selected_sites, found).run()
        except OverflowedError:
            if scale == _SCALES[-1] or not found.drawn:
                raise
    raise AssertionError("The last scale returns or raises.")


def verify_probe(model: keras.Model, change: Callable[[], None], samples: Any = None) -> None:
    """Check that a model predicts the same after a change as before.

    Args:
        model: `keras.Model`.
        change: Function without arguments.
        samples: As in `verify_conversion`.

    Raises:
        ConversionError: The predictions differ by more than rounding.
    """
    models = _with_outputs(model)
    probes = [_probe_original(each, samples) for each in models]
    change()
    for obstacle in _uncalled(model):
        warn_of_no_verification(not_made(obstacle, drawn=samples is None))
    for each, found in zip(models, probes, strict=True):
        if isinstance(found, str):
            warn_of_no_verification(_no_probe(found, samples))
            continue
        reason = prediction_difference(
            found.prediction,
            predict_once(each, found.inputs),
            epsilon=coarsest_epsilon(each),
            units=SAME_OPERATIONS,
        )
        if reason:
            raise ConversionError(
                f"Model '{each.name}' does not compute the same with PReLU layers in place:"
                f" {reason}. Exclude sites with `exclude` until it does. The model is as it was."
            )


def warn_of_no_verification(verification: Verification) -> None:
    """Warn if the comparison of a conversion with its original could not be made."""
    if verification.obstacle:
        warn(
            "The conversion could not be verified on the model's predictions:"
            f" {verification.obstacle}. Compare the outputs of both models yourself.",
        )


def refuse_nonfinite(original: keras.Model, converted: keras.Model, method: str) -> None:
    """Check that new slopes left no NaN or infinite values where the original has none.

    Args:
        original: `keras.Model`.
        converted: `keras.Model`. It has its new slopes, and is rescaled.
        method: String. How it was rescaled, as in `convert`.

    Raises:
        ConversionError: There are such values.
    """
    for scale in _SCALES:
        found = probe(original, scale)
        if isinstance(found, str):
            return
        if all(map(is_finite, found.prediction.outputs)):
            break
    else:
        return
    if not all(map(is_finite, predict_once(converted, found.inputs).outputs)):
        raise ConversionError(
            f"The converted model of '{original.name}' gives NaN or infinite values with"
            f' rescale="{method}". Choose smaller slopes (alpha, --alpha), fewer sites (exclude,'
            ' --exclude), or "calibrated" with samples (--rescale calibrated --data DATA).'
        )


def _no_probe(reason: str, samples: Any) -> Verification:
    inputs = "inputs drawn for it" if samples is None else "the first samples"
    return not_made(f"the model can't be called on {inputs} ({reason})", drawn=samples is None)


def _probe_original(model: keras.Model, samples: Any, scale: float = 1.0) -> Probe | str:
    """Return a probe of a model with samples or drawn inputs, or the reason why there is none."""
    if samples is None:
        return probe(model, scale)
    try:
        return probe_with(model, samples)
    except Exception as error:  # Whatever the model raises.
        return reason_of(error)


@contextmanager
def _as_in_original(converted: keras.Model, replaced: Mapping[str, LocatedSite]) -> Iterator[None]:
    """Let PReLU layers compute what the rectifiers that they replaced do."""
    with ExitStack() as undo:
        for path, layer in layers_at(converted, replaced).items():
            located = replaced[path]
            undo.callback(
                set_target(HookTarget(layer, "_activate"), activation_of_site(layer, located))
            )
        yield


def activation_of_site(layer: PReLU, located: LocatedSite) -> Any:
    """Return a function of the inputs and slopes of a layer that computes a site's rectifier."""
    owner = located.owner
    if located.site.is_smooth:
        function = located.function
        return lambda inputs, alpha: function(inputs)

    def activate(inputs: Tensor, alpha: Tensor) -> Tensor:
        slopes = (
            owner.alpha
            if located.site.negative_slope is None
            else keras.ops.full_like(alpha, located.site.negative_slope)
        )
        outputs = prelu(inputs, keras.ops.convert_to_tensor(slopes))
        return capped(outputs, layer.max_value)

    return activate
