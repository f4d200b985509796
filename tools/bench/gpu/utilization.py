"""Utilization of the GPU, which its driver is asked for ten times a second."""

from __future__ import annotations

import threading


class Utilization:
    """Context that samples the share of time in which the GPU computed, in percent.

    Attributes:
        percents: The samples; none where there is no GPU, or pynvml is not installed.
    """

    def __init__(self, interval: float = 0.1) -> None:
        self.percents: list[int] = []
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Utilization:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
            while not self._over.wait(self._interval):
                self.percents.append(int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))
        except Exception:  # Without a driver or permission it stays unknown.
            return
