"""What a measurement is. Workers print them as JSON lines, the report reads them."""

from __future__ import annotations

from dataclasses import dataclass

RELU, STOCK, OURS = "ReLU", "keras.layers.PReLU", "keras_prelu.PReLU"


@dataclass(frozen=True)
class Machine:
    """Where and with what it was measured."""

    device: str
    cores: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Measurement:
    """One quantity of one activation at one piece of work.

    Attributes:
        backend: "tensorflow", "jax" or "torch".
        mode: How the backend ran it: "graph", "XLA", "eager", "jit", "compile".
        quantity: What was measured, with its unit.
        work: The tensor or network that it was measured on.
        dtype: Keras dtype policy.
        activation: One of RELU, STOCK, OURS.
        value: Median, in the quantity's unit.
        ratio: Median over rounds of this activation's figure to ReLU's in the same round.
        low: Lower quartile of that ratio.
        high: Upper quartile.
        floor: For times of an activation: the time of moving the same bytes with a copy kernel, in
            the same unit; else None.
    """

    backend: str
    mode: str
    quantity: str
    work: str
    dtype: str
    activation: str
    value: float
    ratio: float
    low: float
    high: float
    floor: float | None = None


@dataclass(frozen=True)
class Failure:
    """A piece of work that a backend could not run, and its reason."""

    backend: str
    mode: str
    quantity: str
    work: str
    dtype: str
    reason: str
