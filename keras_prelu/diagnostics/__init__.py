"""Looking at networks: dead units, slopes, and whether one model is better than another."""

from keras_prelu.diagnostics.comparison import Comparison, compare
from keras_prelu.diagnostics.slopes import LayerSlopes, slopes
from keras_prelu.diagnostics.units import SiteUnits, dead_units

__all__ = ["Comparison", "LayerSlopes", "SiteUnits", "compare", "dead_units", "slopes"]
