"""Diagnostics of networks.

They measure dead units, ranks, slopes, the signal by depth, gradient noise and representations, and
whether one model is better than another.
"""

import warnings
from typing import TYPE_CHECKING, Any

from keras_prelu.diagnostics.batch_norm import BatchNormGamma, batch_norm_gammas
from keras_prelu.diagnostics.comparison import Comparison, compare
from keras_prelu.diagnostics.diagnosis import Diagnosis, Finding, diagnose
from keras_prelu.diagnostics.embeddings import (
    CollapseAlarm,
    Embeddings,
    collapse_alarms,
    embedding_statistics,
)
from keras_prelu.diagnostics.gradient_noise import GradientNoise, VariableNoise, gradient_noise
from keras_prelu.diagnostics.ranks import SiteRanks, representation_ranks
from keras_prelu.diagnostics.scale_symmetry import (
    GroupScale,
    LayerInfluence,
    channel_influences,
    channel_scales,
    rescale_channels,
)
from keras_prelu.diagnostics.signal import LayerSignal, signal_by_depth
from keras_prelu.diagnostics.similarity import LayerSimilarity, layer_similarity
from keras_prelu.diagnostics.slopes import LayerSlopes, layer_slopes
from keras_prelu.diagnostics.unit_counts import SiteUnits, dead_units
from keras_prelu.theory import relative_error

__all__ = [
    "BatchNormGamma",
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
    "SiteRanks",
    "SiteUnits",
    "VariableNoise",
    "batch_norm_gammas",
    "channel_influences",
    "channel_scales",
    "collapse_alarms",
    "compare",
    "dead_units",
    "diagnose",
    "embedding_statistics",
    "gradient_noise",
    "layer_similarity",
    "layer_slopes",
    "relative_error",
    "representation_ranks",
    "rescale_channels",
    "signal_by_depth",
]

_RENAMED = {
    "Normalization": BatchNormGamma,
    "embeddings": embedding_statistics,
    "influences": channel_influences,
    "noise": gradient_noise,
    "normalizations": batch_norm_gammas,
    "rescaled": rescale_channels,
    "scales": channel_scales,
    "signal": signal_by_depth,
    "similarity": layer_similarity,
    "slopes": layer_slopes,
}
"""The public names of version 0.1.0 that have changed since. They are removed in version 0.3.0."""

# Importing a submodule binds its name in this package. If that name is a former name of a function
# (`signal`, `slopes`, …), the binding has to be removed: `__getattr__` is called only for names
# that are not bound. `from keras_prelu.diagnostics.signal import …` continues to work, as it looks
# the module up in `sys.modules`.
for _name in _RENAMED:
    globals().pop(_name, None)

if not TYPE_CHECKING:  # so that type checkers report the former names

    def __getattr__(name: str) -> Any:
        """Return the object that a former public name stands for, with a warning."""
        if name not in _RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        renamed = _RENAMED[name]
        warnings.warn(
            f"`keras_prelu.diagnostics.{name}` is now `keras_prelu.diagnostics.{renamed.__name__}`;"
            " the old name is removed in version 0.3.0.",
            DeprecationWarning,
            stacklevel=2,
        )
        return renamed
