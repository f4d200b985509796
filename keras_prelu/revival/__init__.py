"""Reviving dead units so that training can use them, with the function kept (claim 2)."""

from keras_prelu.revival.records import DeadUnits, Revival, SiteRevival
from keras_prelu.revival.reviver import find_dead_units, revive

__all__ = ["DeadUnits", "Revival", "SiteRevival", "find_dead_units", "revive"]
