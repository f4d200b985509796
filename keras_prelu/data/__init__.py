"""Samples and their sources.

Sources are arrays, the bundled digits, `.npz` files, image folders, and TensorFlow Datasets.
"""

from keras_prelu.data.dataset import Dataset
from keras_prelu.data.samples import Samples
from keras_prelu.data.sources import load

__all__ = ["Dataset", "Samples", "load"]
