"""Converting a ReLU model into a PReLU model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_prelu import parameterizations
from keras_prelu.backend.keras_internals import sublayers
from keras_prelu.calibration.calibrate import calibrate
from keras_prelu.calibration.slope_search import find_slopes, set_slope
from keras_prelu.conversion.freezing import train_slopes
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.errors import ConversionError, InvalidArgumentError, KerasPReLUWarning
from keras_prelu.graph import functional
from keras_prelu.graph.leaves import has_class_of_its_own, is_taken_apart
from keras_prelu.layers import PReLU
from keras_prelu.parameterizations import Identity, Parameterization, Square
from keras_prelu.scaling.analytic import rescale_analytic
from keras_prelu.scaling.moments import UNKNOWN, rescale_moments
from keras_prelu.sites.finder import find_sites, locate_sites
from keras_prelu.sites.prelu_layers import layer_at, prelu_layers
from keras_prelu.sites.selection import Selector, select
from keras_prelu.sites.site import LocatedSite, Site

__all__ = ["LARGEST_SLOPE", "RESCALES", "SAFE_SLOPE", "convert", "new_slopes"]

RESCALES = ("auto", "none", "analytic", "moments", "calibrated")

LARGEST_SLOPE = 0.25
"""Where slopes start, and the largest that `alpha="auto"` sets: He et al.'s."""

SAFE_SLOPE = 0.01
"""The largest slope that `rescale="auto"` sets without samples: the classical leaky slope, close
enough to 0 that a trained network's function hardly changes (a second moment changes by the factor
1 + α² = 1.0001 a layer, claim 4)."""

SAFE_SLOPE_WITH_STATISTICS = 0.05
"""The same where "moments" knows what to restore: on three kinds of trained networks with
BatchNormalization it changes the outputs by 0.2 to 1.4 % of their variance and the accuracy by at
most 0.1 points; without "moments" by 1.6 to 3.8 %, and 0.8 points."""


def convert(
    model: keras.Model,
    *,
    alpha: float | str = LARGEST_SLOPE,
    tolerance: float | None = None,
    parameterization: Any = "exp",
    shared_axes: Any = "channel_wise",
    alpha_regularizer: Any = None,
    rescale: str = "auto",
    calibration_data: Any = None,
    include: Selector = None,
    exclude: Selector = None,
    keep_slopes: bool = True,
    train_frozen_slopes: bool = False,
) -> keras.Model:
    """A PReLU model from a trained ReLU model.

    Every convertible site (see `find_sites`) becomes a `keras_prelu.PReLU`: a ReLU layer is
    replaced by one of the same name, an inline `activation="relu"` by a linear layer followed by a
    new layer `<name>_prelu`; a cap such as ReLU6's is kept. Layers with Python code of their own,
    and subclassed models, are rebuilt from their configuration and apply PReLUs inside; they stay
    of their class. Weights, names, `trainable` flags, dtype policies and compile settings (with a
    fresh optimizer state) are kept. At `alpha=0` with "identity" or "square" the new model's output
    equals the old one's bit for bit (compiled by JAX, which rounds as it likes, to float32's
    precision).

    Args:
        model: A built model: Sequential, Functional or subclassed, with nested models and layers of
            your own. It is not changed.
        alpha: The initial slope of the new layers. Defaults to 0.25. "auto": for each layer the
            largest one, up to 0.25, that calibration can make up for, see `find_slopes`; needs
            samples. Sites with a slope of their own keep it, see `keep_slopes`.
        tolerance: For "auto", the loss of function that is allowed, see `find_slopes`. Defaults to
            one that held-out samples can't tell from none.
        parameterization: The slopes' map, as in `PReLU`. Defaults to "exp". A slope that is kept
            and that the map can't represent gets "identity".
        shared_axes: As in `PReLU`. Defaults to "channel_wise". A `keras.layers.PReLU` that keeps
            its slopes keeps its axes.
        alpha_regularizer: As in `PReLU`.
        rescale: What is done so that the model still works. "calibrated": layerwise least squares
            on `calibration_data`, see `calibrate`. "analytic": each site's producer × 1/√(1+α²)
            (claims 4 and 6), right for fresh weights and nearly worthless for trained ones.
            "moments": what each ReLU put out is restored in least squares from the statistics that
            BatchNormalization layers hold (claim 7), without samples. "none": nothing. "auto"
            (default): "calibrated" with samples; without, "moments" and slopes of at most 0.05
            where there are statistics, 0.01 elsewhere, with a warning.
        calibration_data: Unlabeled samples for "calibrated", as in `calibrate`: arrays, or what
            yields batches of them.
        include: Which sites to convert: a path or layer name or glob ("block1_*"), a layer class, a
            function of a `Site`, or a list of these. Defaults to all that are convertible, smooth
            activations such as ELU and GELU left out.
        exclude: Which sites not to convert, likewise.
        keep_slopes: Whether LeakyReLU, ReLU(negative_slope) and `keras.layers.PReLU` keep the
            slopes they have. Defaults to True; False gives them `alpha`.
        train_frozen_slopes: Whether new slopes in a frozen part of the model learn. Defaults to
            False: they are frozen with it.

    Returns:
        A new model of the same kind (a Sequential stays one).

    Raises:
        InvalidArgumentError: A ValueError; an argument has none of the values above, or the map
            can't represent `alpha`.
        ConversionError: The model has no graph or no site to convert; the message says what was
            looked for.
        CalibrationError, DataError: The samples can't be used.

    Example:

    >>> converted = keras_prelu.convert(model, calibration_data=x_train[:512])

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852. Claims 4, 6 and 7;
        docs/explanation/calibration.md.
    """
    _check_rescale(rescale, calibration_data)
    _check_search(alpha, tolerance, rescale, calibration_data)
    searching = alpha == "auto"
    slope: Any = LARGEST_SLOPE if searching else alpha
    map_ = _parameterization(parameterization, slope)
    located = locate_sites(model)
    selected = select(located, model, include, exclude)
    cautious = rescale == "auto" and calibration_data is None and abs(slope) > SAFE_SLOPE
    if rescale == "auto":
        rescale = "moments" if cautious else "none" if calibration_data is None else "calibrated"
    wanted = slope
    if cautious:
        slope = math.copysign(min(abs(slope), SAFE_SLOPE_WITH_STATISTICS), slope)
        map_.check(slope)
    _refuse_quantized(model)
    _warn_of_no_numbers(model)
    make = partial(
        _make_layer,
        alpha=slope,
        map_=map_,
        shared_axes=shared_axes,
        alpha_regularizer=alpha_regularizer,
        keep=keep_slopes,
    )
    in_graph = [item for item in selected if item.held is None]
    converted = rewrite(
        model,
        replaced={
            (id(item.operation), None if item.site.kind == "prelu" else item.index): partial(
                make, item
            )
            for item in in_graph
            if item.site.kind != "inline"
        },
        appended={
            id(item.operation): partial(make, item)
            for item in in_graph
            if item.site.kind == "inline"
        },
        inside=_inside(selected, make),
    )
    for item in selected:
        if keep_slopes and item.site.negative_slope is None:
            _assign_slopes(layer_at(converted, item.site.target), item.owner)
    _warn_of_lost_classes(model)
    if train_frozen_slopes:
        _train_frozen(converted, [layer_at(converted, item.site.target) for item in selected])
    targets = [item.site.target for item in selected if not (keep_slopes and _own_slope(item.site))]
    if rescale == "analytic":
        rescale_analytic(converted, targets)
    elif rescale == "moments":
        records = (
            rescale_moments(converted, targets)
            if functional.has_graph(converted) or not cautious
            else []
        )
        if cautious and targets:
            _be_cautious(
                converted,
                [record.path for record in records if record.action != UNKNOWN],
                targets,
                wanted,
            )
    elif searching and targets:
        find_slopes(converted, model, calibration_data, layers=targets, tolerance=tolerance)
    elif rescale == "calibrated":
        calibrate(converted, model, calibration_data)
    return converted


def new_slopes(
    model: keras.Model, converted: keras.Model, *, keep_slopes: bool = True
) -> list[str]:
    """Paths of the PReLU layers in a converted model whose slopes are not those that the original
    had."""
    own = {site.target for site in find_sites(model) if keep_slopes and _own_slope(site)}
    return [path for path, _ in prelu_layers(converted) if path not in own]


def _be_cautious(
    converted: keras.Model, rescaled: list[str], targets: list[str], wanted: float
) -> None:
    """Lower the slopes of sites that could not be rescaled without samples, and say which slopes
    there are."""
    rest = [path for path in targets if path not in rescaled]
    for path in rest:
        set_slope(layer_at(converted, path), math.copysign(SAFE_SLOPE, wanted))
    known = f"{math.copysign(min(abs(wanted), SAFE_SLOPE_WITH_STATISTICS), wanted):g}"
    low = f"{math.copysign(SAFE_SLOPE, wanted):g}"
    slopes = (
        f"{known}, and {low} at {len(rest)} of {len(targets)} sites whose statistics nothing tells,"
        if rescaled and rest
        else known
        if rescaled
        else low
    )
    warnings.warn(
        f"No samples to calibrate with: the new slopes start at {slopes} instead of {wanted:g}, so"
        " that the model still works. Give unlabeled samples (calibration_data, --data) for larger"
        ' slopes, or rescale="none" to set them all the same.',
        KerasPReLUWarning,
        stacklevel=3,
    )


def _warn_of_lost_classes(model: keras.Model) -> None:
    lost = [
        layer
        for layer in (model, *sublayers(model))
        if is_taken_apart(layer) and has_class_of_its_own(layer)
    ]
    if lost:
        names = ", ".join(f"'{layer.name}' ({type(layer).__name__})" for layer in lost)
        warnings.warn(
            f"Converted as a graph: {names}. The new model computes what the class did, but is a"
            " plain functional model: methods and training steps of the class are not kept.",
            KerasPReLUWarning,
            stacklevel=3,
        )


def _train_frozen(converted: keras.Model, layers: list[PReLU]) -> None:
    stay = train_slopes(converted, {id(layer) for layer in layers})
    if stay:
        warnings.warn(
            f"Slopes inside {', '.join(map(repr, stay))} stay frozen with the layer: its"
            " configuration has one flag for all inside.",
            KerasPReLUWarning,
            stacklevel=3,
        )


def _inside(
    selected: list[LocatedSite], make: Callable[[LocatedSite], PReLU]
) -> dict[int, dict[str, list[Callable[[], PReLU]]]]:
    """What `rewrite` takes for the sites inside layers."""
    inside: dict[int, dict[str, list[Callable[[], PReLU]]]] = {}
    for item in selected:
        if item.held is not None:
            inside.setdefault(id(item.operation), {}).setdefault(item.held.address, []).append(
                partial(_make_built, item, make)
            )
    return inside


def _make_built(item: LocatedSite, make: Callable[[LocatedSite], PReLU]) -> PReLU:
    """A PReLU for a site inside a layer. Its code calls it, not a graph that would build it."""
    layer = make(item)
    try:
        layer.build(item.shapes[0])
    except InvalidArgumentError as error:
        raise ConversionError(f"Site '{item.site.path}': {error}") from error
    for shape in item.shapes[1:]:
        sizes = layer.input_spec.axes
        if any(shape[axis] != size for axis, size in sizes.items()):
            raise ConversionError(
                f"Site '{item.site.path}' is applied to tensors of shapes {item.shapes[0]} and"
                f" {shape}: they can't have the same slopes. Share slopes along the axes that"
                ' differ (shared_axes="channel_wise"), or exclude it.'
            )
    return layer


def _refuse_quantized(model: keras.Model) -> None:
    for layer in sublayers(model):
        mode = getattr(layer, "quantization_mode", None)
        if mode:
            raise ConversionError(
                f"Layer '{layer.name}' ({type(layer).__name__}) is quantized ({mode}): its weights"
                " can't be rescaled. Convert the model before it is quantized."
            )


def _warn_of_no_numbers(model: keras.Model) -> None:
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype) and not _is_finite(variable):
            warnings.warn(
                f"The weights '{variable.path}' are not all finite numbers: what the model"
                " computes, converted or not, may be none either.",
                KerasPReLUWarning,
                stacklevel=3,
            )
            return


def _is_finite(variable: keras.Variable) -> bool:
    """Whether a variable holds finite numbers alone. Its mean tells without a copy of it, except
    where that overflows."""
    return bool(keras.ops.isfinite(keras.ops.mean(variable))) or bool(
        np.isfinite(keras.ops.convert_to_numpy(variable)).all()
    )


def _check_rescale(rescale: str, calibration_data: Any) -> None:
    if rescale not in RESCALES:
        raise InvalidArgumentError(
            f"`rescale` must be one of {', '.join(map(repr, RESCALES))}. Received:"
            f" rescale={rescale!r}"
        )
    if rescale == "calibrated" and calibration_data is None:
        raise InvalidArgumentError(
            'rescale="calibrated" needs `calibration_data`: unlabeled samples, such as a part of'
            " the training data."
        )
    if rescale in ("none", "analytic", "moments") and calibration_data is not None:
        raise InvalidArgumentError(
            f'`calibration_data` is not used by rescale="{rescale}". Leave it out, or choose'
            ' "calibrated".'
        )


def _check_search(alpha: Any, tolerance: Any, rescale: str, calibration_data: Any) -> None:
    if alpha == "auto" and (calibration_data is None or rescale not in ("auto", "calibrated")):
        raise InvalidArgumentError(
            'alpha="auto" needs `calibration_data`, unlabeled samples, and rescale="calibrated" or'
            ' "auto".'
        )
    if tolerance is not None and alpha != "auto":
        raise InvalidArgumentError(
            f'`tolerance` is for alpha="auto". Received: tolerance={tolerance}, alpha={alpha!r}'
        )


def _parameterization(identifier: Any, alpha: Any) -> Parameterization:
    if (
        isinstance(alpha, bool)
        or not isinstance(alpha, (int, float, np.number))
        or not math.isfinite(alpha)
    ):
        raise InvalidArgumentError(
            "`alpha` must be a finite number, the initial slope, or 'auto'. Received:"
            f" alpha={alpha!r}"
        )
    map_ = parameterizations.get(identifier)
    if alpha == 0 and isinstance(map_, Square) and not map_.allow_zero:
        warnings.warn(
            'At alpha=0 the slopes of parameterization "square" get no gradient and stay 0. Use'
            ' "identity" for slopes that learn.',
            KerasPReLUWarning,
            stacklevel=3,
        )
        map_ = Square(allow_zero=True)
    map_.check(alpha)
    return map_


def _own_slope(site: Site) -> bool:
    """Whether a site has a slope today: LeakyReLU, ReLU(negative_slope) or a stock PReLU."""
    return site.negative_slope is None or site.negative_slope != 0.0


def _assign_slopes(layer: Any, stock: Any) -> None:
    """Give a new layer the slopes of the `keras.layers.PReLU` that it replaces."""
    layer.beta.assign(
        layer.parameterization.beta(keras.ops.convert_to_numpy(stock.alpha)).reshape(
            layer.beta.shape
        )
    )


def _make_layer(
    item: LocatedSite,
    *,
    alpha: float,
    map_: Parameterization,
    shared_axes: Any,
    alpha_regularizer: Any,
    keep: bool,
) -> keras.layers.Layer:
    site = item.site
    if (
        keep and site.negative_slope is None
    ):  # a stock PReLU: `convert` assigns all its slopes once the layer is built
        slopes = keras.ops.convert_to_numpy(item.owner.alpha)
        map_, alpha, shared_axes = (
            _able(map_, slopes),
            float(slopes.flat[0]),
            item.owner.shared_axes,
        )
    elif keep and site.negative_slope:
        map_, alpha = _able(map_, np.asarray(site.negative_slope)), site.negative_slope
    return PReLU(
        alpha,
        parameterization=map_,
        alpha_regularizer=alpha_regularizer,
        shared_axes=shared_axes,
        max_value=site.max_value,
        data_format=item.data_format,
        name=site.target.rsplit("/", 1)[-1],
        dtype=_dtype_policy(item),
        # Of a site in a graph: that of a layer which is replaced, or of what an inline activation
        # put out.
        activity_regularizer=(
            getattr(item.operation, "activity_regularizer", None) if item.held is None else None
        ),
    )


def _able(map_: Parameterization, slopes: np.ndarray) -> Parameterization:
    """The map that was asked for, or "identity" where it can't represent slopes that are to be
    kept."""
    try:
        map_.check(slopes)
    except InvalidArgumentError:
        return Identity()
    return map_


def _dtype_policy(item: LocatedSite) -> Any:
    """A layer's own policy. An op has none: half-precision tensors come from a mixed-precision
    model."""
    if isinstance(item.owner, keras.layers.Layer):
        return item.owner.dtype_policy
    return f"mixed_{item.dtype}" if item.dtype in ("float16", "bfloat16") else item.dtype
