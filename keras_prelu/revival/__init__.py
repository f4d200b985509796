"""Reviving dead units so that training can use them, with the function kept (claim 2)."""

from keras_prelu.revival.records import Revival, SiteRevival
from keras_prelu.revival.reviver import revive

__all__ = ["Revival", "SiteRevival", "revive"]
