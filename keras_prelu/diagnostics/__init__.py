"""Looking at networks: units, slopes, signal, gradient noise, representations, and whether one
model is better than another."""

from keras_prelu.diagnostics.batch_norm import Normalization, normalizations
from keras_prelu.diagnostics.comparison import Comparison, compare
from keras_prelu.diagnostics.dead_units import SiteUnits, dead_units
from keras_prelu.diagnostics.diagnosis import Diagnosis, Finding, diagnose
from keras_prelu.diagnostics.embeddings import (
    CollapseAlarm,
    Embeddings,
    collapse_alarms,
    embeddings,
)
from keras_prelu.diagnostics.gradient_noise import GradientNoise, VariableNoise, noise
from keras_prelu.diagnostics.scale_symmetry import (
    GroupScale,
    LayerInfluence,
    influences,
    rescaled,
    scales,
)
from keras_prelu.diagnostics.signal import LayerSignal, signal
from keras_prelu.diagnostics.similarity import LayerSimilarity, similarity
from keras_prelu.diagnostics.slopes import LayerSlopes, slopes

__all__ = [
    "CollapseAlarm",
    "Comparison",
    "Diagnosis",
    "Embeddings",
    "Finding",
    "GradientNoise",
    "GroupScale",
    "LayerInfluence",
    "LayerSignal",
    "LayerSimilarity",
    "LayerSlopes",
    "Normalization",
    "SiteUnits",
    "VariableNoise",
    "collapse_alarms",
    "compare",
    "dead_units",
    "diagnose",
    "embeddings",
    "influences",
    "noise",
    "normalizations",
    "rescaled",
    "scales",
    "signal",
    "similarity",
    "slopes",
]
