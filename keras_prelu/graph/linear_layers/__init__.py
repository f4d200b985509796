"""Linear layers as least-squares problems.

Each output row is a design row times the kernel matrix of the layer, plus the bias.

`linear_view` finds the `LinearView` of a layer by its class name. A new kind of layer is one
subclass of `LinearView` in one of these modules.
"""

from keras_prelu.graph.linear_layers import convolutions, dense  # noqa: F401  They register views.
from keras_prelu.graph.linear_layers.base import LinearView, linear_view

__all__ = ["LinearView", "linear_view"]
