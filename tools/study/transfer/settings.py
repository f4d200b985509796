"""The settings that are compared: a transfer, how many samples there are, and whether
BatchNormalizations are trained."""

from __future__ import annotations

from dataclasses import dataclass

from tools.study.transfer.tasks import TASKS, TransferTask

__all__ = ["FROZEN", "SETTINGS", "TRAINED", "TransferSetting"]

TRAINED, FROZEN = "trained", "frozen"
_EPOCHS = {250: 8, 1_000: 4, None: 2}


@dataclass(frozen=True, kw_only=True)
class TransferSetting:
    """One way of learning new data.

    Attributes:
        task: The transfer.
        samples: Number of new samples, a fifth of which is held back; None for all.
        normalization: `TRAINED`; `FROZEN` if BatchNormalizations keep their statistics, scales and
            offsets; "" for networks without one.
    """

    task: TransferTask
    samples: int | None
    normalization: str

    @property
    def epochs(self) -> int:
        """Epochs in which all layers learn."""
        return _EPOCHS[self.samples]

    @property
    def size(self) -> str:
        """The number of samples in words."""
        return "all samples" if self.samples is None else f"{self.samples:,} samples"

    @property
    def name(self) -> str:
        """Name in tables and for `--only`."""
        normalization = f", {self.normalization} BatchNormalization" if self.normalization else ""
        return f"{self.task.name}, {self.size}{normalization}"


SETTINGS = tuple(
    TransferSetting(task=task, samples=samples, normalization=normalization)
    for samples in _EPOCHS
    for task in TASKS
    for normalization in ((TRAINED, FROZEN) if task.normalized else ("",))
)
"""Those with few samples first."""
