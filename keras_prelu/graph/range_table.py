"""The rules of Keras's operations, by the names of their classes.

A layer and an op of the same name do the same. An operation without a rule may do anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from keras_prelu.graph import range_contractions as contractions
from keras_prelu.graph import range_functions as functions
from keras_prelu.graph import range_powers as powers
from keras_prelu.graph import range_rules as rules
from keras_prelu.graph.range_rules import Rule
from keras_prelu.graph.value_ranges import ANY, NON_NEGATIVE, UNIT, Interval, fixed

__all__ = ["rule_for"]


def rule_for(class_name: str) -> Rule | None:
    """Return the rule of an operation of Keras, or None if nothing is known of it."""
    return _RULES.get(class_name)


def _ranged(interval: Interval) -> Rule:
    """Return the rule of an operation whose results lie in an interval whatever it is given."""
    return lambda application: fixed(interval)


def _rules(names: str, rule: Rule) -> Iterable[tuple[str, Rule]]:
    return ((name, rule) for name in names.split())


def _by_dimension(*stems: str) -> str:
    return " ".join(f"{stem}{dimension}D" for stem in stems for dimension in (1, 2, 3))


def _overflowing(function: Callable[[float], float]) -> Callable[[float], float]:
    def applied(value: float) -> float:
        try:
            return function(value)
        except OverflowError:
            return math.copysign(math.inf, value)

    return applied


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _sigmoid(value: float) -> float:
    tail = math.exp(-abs(value))
    return (1.0 if value >= 0 else tail) / (1.0 + tail)


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
    Split ArraySplit Dsplit Hsplit Vsplit Squeeze StopGradient Swapaxes Tile
    Transpose Unstack View
"""
_JOINING = """
    Append Concatenate Dstack Hstack Meshgrid SliceUpdate Stack Vstack
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
    LogSoftmax
"""
_COMPARING = """
    Argmax Argmin Argsort Argpartition Isfinite Isinf Isnan Isneginf Isposinf
    Nanargmax Nanargmin
"""

_RULES: dict[str, Rule] = dict(
    [
        *_rules(_KEEPING, rules.kept),
        *_rules("Take TakeAlongAxis", rules.taken),
        *_rules(_JOINING, rules.joined),
        *_rules("AdditiveAttention Attention DotProductAttention", rules.mixed),
        *_rules(_PADDING, rules.kept_or_zero),
        *_rules(_SUMMING, rules.summed),
        *_rules("Cast", rules.cast),
        *_rules("SaturateCast", rules.saturated),
        *_rules("Where", rules.chosen),
        *_rules("Add", rules.added),
        *_rules("Subtract", rules.subtracted),
        *_rules("Average", rules.averaged),
        *_rules("Negative", rules.negated),
        *_rules("Multiply", rules.multiplied),
        *_rules("Rescaling", rules.rescaled),
        *_rules("Divide DivideNoNan FloorDivide TrueDivide", rules.divided),
        *_rules("Reciprocal", rules.inverted),
        *_rules("Logaddexp Logaddexp2 Logsumexp", powers.log_of_sum),
        *_rules("Power", powers.to_a_power),
        *_rules("Cumprod Prod Nanprod", powers.product),
        *_rules(_MULTIPLYING_AND_SUMMING, contractions.products_summed),
        *_rules(_LINEAR, rules.linear),
        *_rules("Maximum Fmax", functions.largest),
        *_rules("Minimum Fmin", functions.smallest),
        *_rules("Clip", functions.clipped),
        *_rules("Square", functions.squared),
        *_rules("Abs Absolute Fabs", functions.absolute),
        *_rules("Normalize UnitNormalization", functions.normalized),
        *_rules("HardShrink SoftShrink TanhShrink Glu", functions.sign_kept),
        *_rules("Log Log10 Log2", functions.with_domain(0.0, math.inf, _log)),
        *_rules("Log1p", functions.with_domain(-1.0, math.inf, _log1p)),
        *_rules("Sqrt", functions.with_domain(0.0, math.inf, math.sqrt)),
        *_rules("Rsqrt", functions.inverse_root),
        *_rules("Arcsin", functions.with_domain(-1.0, 1.0, math.asin)),
        *_rules("Arccos", functions.arccosine),
        *_rules(
            "Erfinv Arctanh", functions.with_domain(-1.0, 1.0, lambda x: math.inf * x if x else 0.0)
        ),
        *_rules("Arccosh", functions.with_domain(1.0, math.inf, math.acosh)),
        *_rules("Tanh", functions.increasing(math.tanh)),
        *_rules("Erf", functions.increasing(math.erf)),
        *_rules("Arctan", functions.increasing(math.atan)),
        *_rules("Arcsinh", functions.increasing(math.asinh)),
        *_rules("Sinh", functions.increasing(_overflowing(math.sinh))),
        *_rules("Cbrt", functions.increasing(_odd_root)),
        *_rules("Softsign", functions.increasing(_softsign)),
        *_rules("HardTanh", functions.increasing(lambda value: min(1.0, max(-1.0, value)))),
        *_rules("Floor", functions.increasing(_whole(math.floor))),
        *_rules("Ceil", functions.increasing(_whole(math.ceil))),
        *_rules("Round", functions.increasing(_whole(round))),
        *_rules("Trunc", functions.increasing(_whole(math.trunc))),
        *_rules(_NORMALIZING_OR_MIXING, _ranged(ANY)),
        *_rules(_COMPARING, _ranged(ANY)),
        *_rules("Greater GreaterEqual Less LessEqual", rules.compared),
        *_rules("HardSigmoid Softmax SparseSigmoid Sparsemax", _ranged(UNIT)),
        *_rules("Cos Sin", _ranged(rules.SYMMETRIC_UNIT)),
        *_rules("Norm", functions.norm),
        *_rules("Cosh Hypot Ptp Squareplus Std Var", _ranged(NON_NEGATIVE)),
        *_rules("Exp", powers.exponential(powers.exponential_of)),
        *_rules("Exp2", powers.exponential(_overflowing(math.exp2))),
        *_rules("Expm1", powers.exponential(_overflowing(math.expm1))),
        *_rules("Softplus", functions.increasing(_softplus)),
        *_rules("Sigmoid", functions.increasing(_sigmoid)),
        *_rules("Mod", rules.remainder),
        *_rules("Moments", _ranged(ANY)),
        *_rules("LogSigmoid", _ranged(Interval(-math.inf, 0.0))),
        *_rules("OnesLike ZerosLike", _ranged(UNIT)),
        *_rules("FullLike Ndim Size", _ranged(ANY)),
        *_rules(
            "All Any CountNonzero Equal Heaviside LogicalAnd LogicalNot LogicalOr LogicalXor"
            " Masking Nonzero NotEqual Sign Signbit",
            rules.zeros_told_apart,
        ),
        *_rules("CategoryEncoding Embedding MultiHot OneHot", rules.used_as_index),
    ]
)
