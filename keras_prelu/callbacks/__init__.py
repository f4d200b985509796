"""Keras callbacks that watch a training, and that keep a network able to learn."""

from keras_prelu.callbacks.plasticity_monitor import LayerPlasticity, PlasticityMonitor
from keras_prelu.callbacks.revive import EpochRevival, Revive
from keras_prelu.callbacks.slope_monitor import SlopeMonitor
from keras_prelu.callbacks.tracked_runs import TrackedRuns

__all__ = [
    "EpochRevival",
    "LayerPlasticity",
    "PlasticityMonitor",
    "Revive",
    "SlopeMonitor",
    "TrackedRuns",
]
