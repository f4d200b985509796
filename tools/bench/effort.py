"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.bench.networks import Network


@dataclass(frozen=True)
class Effort:
    """How much of PReLU against ReLU is measured.

    Attributes:
        rounds: Rounds of an activation alone.
        step_rounds: Most rounds of a network.
        step_seconds: Seconds after which no further round of a network starts.
        processes: Processes of each activation whose peak memory is measured.
        reduction: Divides the batches.
    """

    rounds: int
    step_rounds: int
    step_seconds: float
    processes: int
    reduction: int

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a tensor's shape with a smaller batch."""
        return (max(1, shape[0] // self.reduction), *shape[1:])

    def network(self, network: Network) -> Network:
        """Return a network with a smaller batch."""
        return replace(network, batch=max(1, network.batch // self.reduction))


FULL = Effort(rounds=25, step_rounds=21, step_seconds=30.0, processes=3, reduction=1)
TRIAL = Effort(rounds=2, step_rounds=2, step_seconds=0.0, processes=1, reduction=32)
