"""The exchange of arrays between hosts that calibrate together."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from keras_prelu.backend import hosts

__all__ = ["Exchange", "HostExchange"]


class Exchange(Protocol):
    """Protocol by which hosts that each have a part of the samples share arrays."""

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return the arrays of all hosts, of equal shapes, along a new first axis."""

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        """Return the rows of all hosts' arrays, one host after the other."""


class HostExchange:
    """The `Exchange` between the hosts that `keras_prelu.backend.hosts` knows."""

    def gather(self, array: np.ndarray) -> np.ndarray:
        return hosts.gather(array)

    def gather_rows(self, array: np.ndarray) -> np.ndarray:
        return hosts.gather_rows(array)
