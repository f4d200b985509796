"""How the operations of Keras carry ranges of values on, and which of them rely on a range.

A rule takes an `Application` and returns the range of the outputs. Operations are named by their
class; a layer and an op of the same name do the same. An operation without a rule may do anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_prelu.graph.functional import Call
from keras_prelu.graph.value_ranges import (
    ANY,
    NON_NEGATIVE,
    UNIT,
    Interval,
    ValueRange,
    combined,
    fixed,
    hull_of,
)

__all__ = ["HARD_SIGMOID", "Application", "constant_of", "of_unknown_operation", "rule_for"]

HARD_SIGMOID = "it is a hard-sigmoid gate, whose range matters"
_GATE_OF_CHANNELS = "it is a gate: whole channels or positions are multiplied by its output"
_DIVISOR = "something is divided by its output, which must not change its sign"
_MOST_CONSTANTS = 1_000_000

Objection = Callable[[frozenset[Any], str], None]
"""Takes the keys of rectifiers and the reason why they have to stay as they are."""


@dataclass(frozen=True)
class Application:
    """One call of an operation, with what is known of its inputs.

    Attributes:
        call: `Call`.
        inputs: Tuple of `ValueRange`, one for each of the call's tensors.
        object_to: Callable. Records that rectifiers have to stay as they are.
    """

    call: Call
    inputs: tuple[ValueRange, ...]
    object_to: Objection

    @property
    def name(self) -> str:
        """Name of the operation for messages, such as "log1p()" or "layer 'mask' (Masking)"."""
        operation = self.call.operation
        if isinstance(operation, keras.layers.Layer):
            return f"layer '{operation.name}' ({type(operation).__name__})"
        return f"{type(operation).__name__.lower()}()"

    @property
    def first(self) -> ValueRange:
        return self.inputs[0] if self.inputs else fixed(ANY)

    def operands(self) -> list[tuple[Any, ValueRange]]:
        """Return the tensors and numbers among the arguments in order, each with its range."""
        ranges = iter(self.inputs)
        operands = []
        for leaf in keras.tree.flatten((self.call.args, self.call.kwargs)):
            if keras.utils.is_keras_tensor(leaf):
                operands.append((leaf, next(ranges)))
            else:
                interval = _interval_of_constant(leaf)
                if interval is not None:
                    operands.append((leaf, fixed(interval)))
        return operands


Rule = Callable[[Application], ValueRange]


def rule_for(class_name: str) -> Rule | None:
    """Return the rule of an operation of Keras, or None if nothing is known of it."""
    return _RULES.get(class_name)


def constant_of(call: Call) -> float | None:
    """Return the one number that an operation combines with its one tensor, or None."""
    if len(call.inputs) != 1:
        return None
    leaves = keras.tree.flatten((call.args, call.kwargs))
    numbers = [
        interval.low
        for interval in map(_interval_of_constant, leaves)
        if interval is not None and interval.width == 0
    ]
    return numbers[0] if len(numbers) == 1 else None


def _interval_of_constant(leaf: Any) -> Interval | None:
    """Return the interval of a number, an array or a variable; None for anything else."""
    if isinstance(leaf, (bool, str)) or leaf is None or keras.utils.is_keras_tensor(leaf):
        return None
    if isinstance(leaf, (int, float)):
        return Interval(float(leaf), float(leaf))
    if isinstance(leaf, keras.Variable):
        if leaf.trainable:
            is_kept_positive = isinstance(leaf.constraint, keras.constraints.NonNeg)
            return NON_NEGATIVE if is_kept_positive else ANY
        return _interval_of_array(keras.ops.convert_to_numpy(leaf))
    if isinstance(leaf, (np.ndarray, np.generic)):
        return _interval_of_array(np.asarray(leaf))
    if keras.ops.is_tensor(leaf):
        return _interval_of_array(keras.ops.convert_to_numpy(leaf))
    return None


def _interval_of_array(array: np.ndarray) -> Interval | None:
    if array.dtype == bool or array.size == 0 or array.size > _MOST_CONSTANTS:
        return ANY
    try:
        numbers = array.astype("float64")
    except (TypeError, ValueError):  # Strings and objects.
        return None
    low, high = float(numbers.min()), float(numbers.max())
    return ANY if math.isnan(low) else Interval(low, high)


# Operations that keep the values: they move, select, average or repeat them.


def _kept(application: Application) -> ValueRange:
    """Return the range of the first tensor; others are indices, masks and the like."""
    for other in application.inputs[1:]:
        _object_to_unknown(application, other)
    return application.first


def _joined(application: Application) -> ValueRange:
    return hull_of(application.inputs)


def _kept_or_zero(application: Application) -> ValueRange:
    padding = application.call.kwargs.get("constant_values")
    interval = _interval_of_constant(padding) or Interval(0.0, 0.0)
    return hull_of([_kept(application), fixed(interval)])


def _chosen(application: Application) -> ValueRange:
    """Return the range of `where(condition, a, b)`."""
    return hull_of(values for _, values in application.operands()[1:])


def _summed(application: Application) -> ValueRange:
    return _kept(application).mapped(Interval.sums)


def _cast(application: Application) -> ValueRange:
    if application.call.outputs[0].dtype == "bool":
        return _zeros_told_apart(application)
    return application.first


# Arithmetic.


def _added(application: Application) -> ValueRange:
    return _folded(Interval.plus, application.operands())


def _subtracted(application: Application) -> ValueRange:
    return _folded(Interval.minus, application.operands())


def _averaged(application: Application) -> ValueRange:
    """Return the range of the mean of several tensors, or of one along an axis."""
    if len(application.inputs) == 1 or not isinstance(
        application.call.operation, keras.layers.Layer
    ):
        return _kept(application)
    share = Interval(1.0 / len(application.inputs), 1.0 / len(application.inputs))
    return _added(application).mapped(share.times)


def _folded(
    function: Callable[[Interval, Interval], Interval], operands: Sequence[tuple[Any, ValueRange]]
) -> ValueRange:
    result = operands[0][1] if operands else fixed(ANY)
    for _, operand in operands[1:]:
        result = combined(function, result, operand)
    return result


def _negated(application: Application) -> ValueRange:
    return application.first.mapped(lambda interval: Interval(0.0, 0.0).minus(interval))


def _multiplied(application: Application) -> ValueRange:
    operands = application.operands()
    if len(operands) == 2 and operands[0][0] is operands[1][0]:
        return application.first.absorbed(Interval.squares)
    product = _folded(Interval.times, operands)
    tensors = [item for item in operands if keras.utils.is_keras_tensor(item[0])]
    if len(tensors) == 1:
        _object_to_scaling(application, tensors[0][1], product)
    for i, (tensor, values) in enumerate(tensors):
        for other, other_values in tensors[:i] + tensors[i + 1 :]:
            _object_to_gating(application, (tensor, values), (other, other_values))
    return product


def _rescaled(application: Application) -> ValueRange:
    """Return the range of `Rescaling`: x·scale + offset."""
    operation = application.call.operation
    scale = _interval_of_constant(operation.scale) or ANY
    offset = _interval_of_constant(operation.offset) or ANY
    scaled = application.first.mapped(scale.times).mapped(offset.plus)
    _object_to_scaling(application, application.first, scaled)
    return scaled


def _divided(application: Application) -> ValueRange:
    operands = application.operands()
    if len(operands) != 2:
        return of_unknown_operation(application)
    (_, numerator), (_, divisor) = operands
    _object_to_division(application, divisor)
    quotient = combined(Interval.over, numerator, divisor)
    if not divisor.sites:
        _object_to_scaling(application, numerator, quotient)
    return quotient


def _inverted(application: Application) -> ValueRange:
    _object_to_division(application, application.first)
    return application.first.mapped(Interval(1.0, 1.0).over)


def _to_a_power(application: Application) -> ValueRange:
    operands = application.operands()
    if len(operands) != 2:
        return of_unknown_operation(application)
    (_, base), (_, exponent) = operands
    power = exponent.before.low
    if exponent.sites or exponent.before.width != 0 or power != int(power):
        _object_to_domain(application, base, 0.0, math.inf)
        return fixed(NON_NEGATIVE)
    if power < 0:
        _object_to_division(application, base)
    if power == 2:
        return base.absorbed(Interval.squares)
    return fixed(NON_NEGATIVE) if power % 2 == 0 else base.mapped(_sign_of)


def _products_summed(application: Application) -> ValueRange:
    """Return the range of sums of products, as of `matmul` and `einsum`."""
    operands = application.operands()
    if _multiplies_elements(application.call):
        return _multiplied(application)
    fixed_kernels = [values.before for leaf, values in operands if not _is_tensor(leaf)]
    if any(kernel.low < 0 for kernel in fixed_kernels):
        return fixed(ANY)  # A linear map.
    return _folded(Interval.times, operands).mapped(Interval.sums)


def _multiplies_elements(call: Call) -> bool:
    """Return whether an einsum sums over no index."""
    equation = str(getattr(call.operation, "subscripts", "")).replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    return bool(arrow) and set(inputs) - {",", "."} <= set(output)


def _linear(application: Application) -> ValueRange:
    """Return the range of a linear layer with its activation, which is no rectifier."""
    sums = _weighted_sums(application)
    activation = getattr(application.call.operation, "activation", None)
    if activation in (None, keras.activations.linear):
        return sums
    is_known = str(getattr(activation, "__module__", "")).startswith("keras.")
    interval = _ACTIVATIONS.get(getattr(activation, "__name__", "")) if is_known else None
    if interval is None:
        _object_to_unknown(application, sums)
    return fixed(interval or ANY)


def _weighted_sums(application: Application) -> ValueRange:
    """Return the range of a linear map, which keeps signs only if no weight is negative."""
    values = application.first
    if not values.sites:
        return fixed(ANY)
    operation = application.call.operation
    if isinstance(operation, keras.layers.Layer):
        biases = [getattr(operation, "bias", None)]
        kernels = [weight for weight in operation.weights if weight is not biases[0]]
    else:
        biases = []
        kernels = [leaf for leaf, _ in application.operands() if not _is_tensor(leaf)]
    if not kernels or any(_may_be_negative(kernel) for kernel in kernels):
        return fixed(ANY)
    if any(bias is not None and _may_be_negative(bias) for bias in biases):
        return values.mapped(lambda interval: ANY)
    return values.mapped(Interval.sums)


def _may_be_negative(weight: Any) -> bool:
    interval = _interval_of_constant(weight)
    return interval is None or interval.low < 0


# Functions of single numbers.


def _increasing(function: Callable[[float], float]) -> Rule:
    def carried(application: Application) -> ValueRange:
        return application.first.mapped(lambda interval: interval.mapped(function))

    return carried


def _with_domain(low: float, high: float, function: Callable[[float], float]) -> Rule:
    """Return the rule of an increasing function that is not defined for all numbers."""

    def carried(application: Application) -> ValueRange:
        values = application.first
        _object_to_domain(application, values, low, high)

        def of(interval: Interval) -> Interval:
            inside = Interval(max(interval.low, low), max(low, min(interval.high, high)))
            return inside.mapped(function)

        return values.mapped(of)

    return carried


def _inverse_root(application: Application) -> ValueRange:
    _object_to_domain(application, application.first, 0.0, math.inf)
    return application.first.mapped(lambda interval: NON_NEGATIVE)


def _sign_of(interval: Interval) -> Interval:
    """Return the widest interval with the same signs."""
    return Interval(
        0.0 if interval.low >= 0 else -math.inf, 0.0 if interval.high <= 0 else math.inf
    )


def _sign_kept(application: Application) -> ValueRange:
    return _kept(application).mapped(_sign_of)


def _normalized(application: Application) -> ValueRange:
    """Return the range of vectors that are divided by their norms."""
    return application.first.mapped(lambda interval: _sign_of(interval).times(UNIT))


def _squared(application: Application) -> ValueRange:
    return application.first.absorbed(Interval.squares)


def _absolute(application: Application) -> ValueRange:
    def size(interval: Interval) -> Interval:
        bounds = abs(interval.low), abs(interval.high)
        return Interval(0.0 if interval.low <= 0 <= interval.high else min(bounds), max(bounds))

    return application.first.absorbed(size)


def _clipped(application: Application) -> ValueRange:
    operation = application.call.operation
    low, high = (
        _interval_of_constant(getattr(operation, bound, None)) or ANY
        for bound in ("x_min", "x_max")
    )
    return _cut(application.first, fixed(low)).mapped(high.smallest)


def _largest(application: Application) -> ValueRange:
    operands = application.operands()
    result = operands[0][1] if operands else fixed(ANY)
    for _, operand in operands[1:]:
        result = _cut(result, operand)
    return result


def _cut(first: ValueRange, second: ValueRange) -> ValueRange:
    """Return the range of the larger of two numbers."""
    result = combined(Interval.largest, first, second)
    constants = [item for item in (first, second) if not item.sites]
    is_cut = bool(result.sites) and any(item.before.low > -math.inf for item in constants)
    return replace(result, clamped=result.clamped or is_cut)


def _smallest(application: Application) -> ValueRange:
    return _folded(Interval.smallest, application.operands())


# Operations that rely on a range, or of which that is not known.


def _zeros_told_apart(application: Application) -> ValueRange:
    for values in application.inputs:
        application.object_to(
            values.sites,
            f"its output goes into {application.name}, which tells zeros from other numbers",
        )
    return fixed(UNIT)


def _used_as_index(application: Application) -> ValueRange:
    for values in application.inputs:
        if values.after.low < 0:
            application.object_to(
                values.sites,
                f"its output goes into {application.name}, which takes indices from 0 on",
            )
    return fixed(ANY)


def of_unknown_operation(application: Application) -> ValueRange:
    """Return the range of an operation without a rule, after objections to all that it reads."""
    for values in application.inputs:
        _object_to_unknown(application, values)
    return fixed(ANY)


def _object_to_unknown(application: Application, values: ValueRange) -> None:
    application.object_to(
        values.sites, f"its output goes into {application.name}, which may rely on its range"
    )


def _object_to_domain(
    application: Application, values: ValueRange, low: float, high: float
) -> None:
    if values.after.low >= low and values.after.high <= high:
        return
    if low == 0:
        takes = "takes no negative numbers"
    elif math.isinf(high):
        takes = f"takes no numbers below {low:g}"
    else:
        takes = f"takes numbers from {low:g} to {high:g} only"
    application.object_to(values.sites, f"its output goes into {application.name}, which {takes}")


def _object_to_division(application: Application, divisor: ValueRange) -> None:
    if divisor.clamped or divisor.after.low < 0 < divisor.after.high:
        application.object_to(divisor.sites, _DIVISOR)


def _object_to_scaling(application: Application, values: ValueRange, scaled: ValueRange) -> None:
    """Object to a scaling of [0, c] to [0, 1], which is the second half of a hard sigmoid."""
    is_scaled = values.before != scaled.before and all(
        abs(bound - unit) < 1e-3 for bound, unit in zip(scaled.before, UNIT, strict=True)
    )
    if values.is_gate_of_sites and values.before.low == 0 and is_scaled:
        application.object_to(values.sites, HARD_SIGMOID)


def _object_to_gating(
    application: Application, gate: tuple[Any, ValueRange], other: tuple[Any, ValueRange]
) -> None:
    """Object to the rectifiers that make one factor of a product a gate for the other."""
    (tensor, values), (other_tensor, other_values) = gate, other
    if not (values.is_gate_of_sites or (values.sites and values.loses_sign)):
        return
    if _is_broadcast(tensor, other_tensor):
        application.object_to(values.sites, _GATE_OF_CHANNELS)
        return
    # Of two factors that are bounded, the one with the narrower range is the gate.
    is_gated = _is_broadcast(other_tensor, tensor) or (
        other_values.before.is_bounded and other_values.before.width < values.before.width
    )
    if values.is_gate_of_sites and not is_gated:
        low, high = values.before
        application.object_to(
            values.sites,
            "it is a gate: another tensor is multiplied by its output, which lies between"
            f" {low:g} and {high:g}",
        )


def _is_broadcast(tensor: Any, other: Any) -> bool:
    """Return whether a tensor is broadcast to another one."""
    return len(tensor.shape) < len(other.shape) or any(
        size == 1 and other_size != 1
        for size, other_size in zip(tensor.shape[1:], other.shape[1:], strict=False)
    )


def _is_tensor(leaf: Any) -> bool:
    return bool(keras.utils.is_keras_tensor(leaf))


def _overflowing(function: Callable[[float], float]) -> Callable[[float], float]:
    def applied(value: float) -> float:
        try:
            return function(value)
        except OverflowError:
            return math.copysign(math.inf, value)

    return applied


def _log1p(value: float) -> float:
    return math.log1p(value) if value > -1 else -math.inf


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _odd_root(value: float) -> float:
    return math.copysign(abs(value) ** (1.0 / 3.0), value)


def _softsign(value: float) -> float:
    return math.copysign(1.0, value) if math.isinf(value) else value / (1.0 + abs(value))


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: value if math.isinf(value) else float(function(value))


def _ranged(interval: Interval) -> Rule:
    """Return the rule of an operation whose results lie in an interval whatever it is given."""
    return lambda application: fixed(interval)


def _rules(names: str, rule: Rule) -> Iterable[tuple[str, Rule]]:
    return ((name, rule) for name in names.split())


def _by_dimension(*stems: str) -> str:
    return " ".join(f"{stem}{dimension}D" for stem in stems for dimension in (1, 2, 3))


_SYMMETRIC_UNIT = Interval(-1.0, 1.0)
_ACTIVATIONS = {
    "exponential": NON_NEGATIVE,
    "hard_sigmoid": UNIT,
    "hard_tanh": _SYMMETRIC_UNIT,
    "log_softmax": ANY,
    "sigmoid": UNIT,
    "softmax": UNIT,
    "softsign": _SYMMETRIC_UNIT,
    "sparsemax": UNIT,
    "tanh": _SYMMETRIC_UNIT,
}
"""Ranges of Keras's activation functions, by name."""
_KEEPING = f"""
    {_by_dimension("AveragePooling", "MaxPooling", "GlobalAveragePooling", "GlobalMaxPooling")}
    {_by_dimension("AdaptiveAveragePooling", "AdaptiveMaxPooling", "Cropping", "UpSampling")}
    {_by_dimension("SpatialDropout")}
    ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise Identity
    CenterCrop Flatten Permute RandomCrop RandomFlip RandomRotation RandomShear RandomTranslation
    RandomZoom RepeatVector Reshape Resizing
    AdaptiveAveragePool AdaptiveMaxPool AveragePool MaxPool
    Amax Amin Max Min Mean Median Nanmax Nanmean Nanmedian Nanmin Nanquantile Nanpercentile
    Percentile Quantile SegmentMax SegmentMin Sort TopK
    BroadcastTo ConvertToTensor Copy CropImages DepthToSpace Diagonal ExpandDims Flip Fliplr Flipud
    GetItem Moveaxis NanToNum Ravel Real Rearrange Repeat Resize Roll Rot90 Slice SpaceToDepth
    Split ArraySplit Dsplit Hsplit Vsplit Squeeze StopGradient Swapaxes Take TakeAlongAxis Tile
    Transpose Unstack View
"""
_JOINING = """
    AdditiveAttention Append Attention Concatenate DotProductAttention Dstack Hstack Meshgrid
    SliceUpdate Stack Vstack
"""
_PADDING = f"""
    {_by_dimension("ZeroPadding")}
    Diag Diagflat ExtractPatches Pad PadImages Tril Triu Unfold
"""
_SUMMING = "Cumsum Fold Nancumsum Nansum SegmentSum Sum Trace"
_MULTIPLYING_AND_SUMMING = "Dot Einsum Inner Kron Matmul Outer Tensordot Vdot"
_LINEAR = f"""
    {_by_dimension("Conv", "DepthwiseConv", "SeparableConv")}
    Conv1DTranspose Conv2DTranspose Conv3DTranspose Conv ConvTranspose DepthwiseConv SeparableConv
    Dense EinsumDense
"""
_NORMALIZING_OR_MIXING = f"""
    {_by_dimension("ConvLSTM")}
    BatchNormalization GroupNormalization LayerNormalization Normalization RMSNormalization
    BatchNorm LayerNorm RMSNorm
    GRU LSTM SimpleRNN
    GroupQueryAttention MultiHeadAttention
    STFTSpectrogram MelSpectrogram
    FFT FFT2 IFFT2 IRFFT ISTFT RFFT STFT Correlate Cross Diff
    LogSoftmax Logaddexp Logaddexp2 Logsumexp
"""
_COMPARING = """
    Argmax Argmin Argsort Argpartition Greater GreaterEqual Isfinite Isinf Isnan Isneginf Isposinf
    Less LessEqual Nanargmax Nanargmin
"""

_RULES: dict[str, Rule] = dict(
    [
        *_rules(_KEEPING, _kept),
        *_rules(_JOINING, _joined),
        *_rules(_PADDING, _kept_or_zero),
        *_rules(_SUMMING, _summed),
        *_rules("Cast SaturateCast", _cast),
        *_rules("Where", _chosen),
        *_rules("Add", _added),
        *_rules("Subtract", _subtracted),
        *_rules("Average", _averaged),
        *_rules("Negative", _negated),
        *_rules("Multiply", _multiplied),
        *_rules("Rescaling", _rescaled),
        *_rules("Divide DivideNoNan FloorDivide TrueDivide", _divided),
        *_rules("Reciprocal", _inverted),
        *_rules("Power", _to_a_power),
        *_rules(_MULTIPLYING_AND_SUMMING, _products_summed),
        *_rules(_LINEAR, _linear),
        *_rules("Maximum Fmax", _largest),
        *_rules("Minimum Fmin", _smallest),
        *_rules("Clip", _clipped),
        *_rules("Square", _squared),
        *_rules("Abs Absolute Fabs", _absolute),
        *_rules("Normalize UnitNormalization", _normalized),
        *_rules("Cumprod Prod Nanprod HardShrink SoftShrink TanhShrink Glu", _sign_kept),
        *_rules("Log Log10 Log2", _with_domain(0.0, math.inf, _log)),
        *_rules("Log1p", _with_domain(-1.0, math.inf, _log1p)),
        *_rules("Sqrt", _with_domain(0.0, math.inf, math.sqrt)),
        *_rules("Rsqrt", _inverse_root),
        *_rules("Arcsin", _with_domain(-1.0, 1.0, math.asin)),
        *_rules("Erfinv Arctanh", _with_domain(-1.0, 1.0, lambda x: math.inf * x if x else 0.0)),
        *_rules("Arccosh", _with_domain(1.0, math.inf, math.acosh)),
        *_rules("Tanh", _increasing(math.tanh)),
        *_rules("Erf", _increasing(math.erf)),
        *_rules("Arctan", _increasing(math.atan)),
        *_rules("Arcsinh", _increasing(math.asinh)),
        *_rules("Sinh", _increasing(_overflowing(math.sinh))),
        *_rules("Expm1", _increasing(_overflowing(math.expm1))),
        *_rules("Cbrt", _increasing(_odd_root)),
        *_rules("Softsign", _increasing(_softsign)),
        *_rules("HardTanh", _increasing(lambda value: min(1.0, max(-1.0, value)))),
        *_rules("Floor", _increasing(_whole(math.floor))),
        *_rules("Ceil", _increasing(_whole(math.ceil))),
        *_rules("Round", _increasing(_whole(round))),
        *_rules("Trunc", _increasing(_whole(math.trunc))),
        *_rules(_NORMALIZING_OR_MIXING, _ranged(ANY)),
        *_rules(_COMPARING, _ranged(ANY)),
        *_rules("HardSigmoid Sigmoid Softmax SparseSigmoid Sparsemax", _ranged(UNIT)),
        *_rules("Cos Sin", _ranged(_SYMMETRIC_UNIT)),
        *_rules("Cosh Exp Exp2 Hypot Norm Ptp Softplus Squareplus Std Var", _ranged(NON_NEGATIVE)),
        *_rules("Mod", _ranged(ANY)),
        *_rules("Moments", _ranged(ANY)),
        *_rules("LogSigmoid", _ranged(Interval(-math.inf, 0.0))),
        *_rules("OnesLike ZerosLike", _ranged(UNIT)),
        *_rules("FullLike Ndim Size", _ranged(ANY)),
        *_rules(
            "All Any CountNonzero Equal Heaviside LogicalAnd LogicalNot LogicalOr LogicalXor"
            " Masking Nonzero NotEqual Sign Signbit",
            _zeros_told_apart,
        ),
        *_rules("CategoryEncoding Embedding MultiHot OneHot", _used_as_index),
    ]
)
