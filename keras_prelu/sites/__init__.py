"""The places where a model applies rectifiers, and selectors for `include` and `exclude`."""

from keras_prelu.sites.selection import SMOOTH

__all__ = ["SMOOTH"]
