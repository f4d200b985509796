"""Memory of training: counted on JAX; on TensorFlow the peak of a process of its own,
`python -m tools.bench.peak_memory ReLU`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
import numpy as np

from tools.bench.effort import FULL, TRIAL, Effort
from tools.bench.records import OURS, RELU, STOCK, Measurement
from tools.common.machine import backend
from tools.common.processes import emit, json_lines, quiet


@dataclass(frozen=True)
class Peak:
    """Most memory that a process took, in megabytes (10^6 bytes)."""

    megabytes: float


def memory(trial: bool) -> Iterator[Measurement]:
    """Measure residuals and temporaries on JAX and peaks on TensorFlow; nothing on PyTorch."""
    effort = TRIAL if trial else FULL
    if backend() == "jax":
        yield from _counted(effort)
    if backend() == "tensorflow":
        yield from _peaks(effort)


def _counted(effort: Effort) -> Iterator[Measurement]:
    """Count residual and temporary bytes of each network, in MiB (2^20 bytes)."""
    from tools.bench.activations import ACTIVATIONS
    from tools.bench.memory import jax_bytes
    from tools.bench.networks import NETWORKS

    for network in map(effort.network, NETWORKS):
        counted = {
            name: jax_bytes(network.build(activation), *network.samples())
            for name, activation in ACTIVATIONS.items()
        }
        for index, quantity in enumerate(("residuals, MiB", "compiled temporaries, MiB")):
            mebibytes = {name: [counts[index] / 2**20] for name, counts in counted.items()}
            yield from _measurements("jit", quantity, network.name, mebibytes)


def _peaks(effort: Effort) -> Iterator[Measurement]:
    """Measure the peak memory of a process for each activation, in turn."""
    arguments = ["--trial"] if effort is TRIAL else []
    peaks: dict[str, list[float]] = {name: [] for name in (RELU, STOCK, OURS)}
    for _ in range(effort.processes):
        for name, values in peaks.items():
            (line,) = json_lines("tools.bench.peak_memory", name, *arguments)
            values.append(line["megabytes"])
    yield from _measurements("graph", "peak memory of the process, MB", "9 convolutions", peaks)


def _measurements(
    mode: str, quantity: str, work: str, values: dict[str, Sequence[float]]
) -> Iterator[Measurement]:
    for name in values:
        ratios = np.array(values[name]) / np.array(values[RELU])
        low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        yield Measurement(
            backend=backend(),
            mode=mode,
            quantity=quantity,
            work=work,
            dtype="float32",
            activation=name,
            value=float(np.median(values[name])),
            ratio=float(ratio),
            low=float(low),
            high=float(high),
        )


@click.command()
@click.argument("activation")
@click.option("--trial", is_flag=True)
def main(activation: str, trial: bool) -> None:
    """Print the peak memory of this process after five train steps of the plain network with
    ACTIVATION in a TensorFlow graph."""
    quiet()
    from tools.bench.activations import ACTIVATIONS
    from tools.bench.memory import peak_of_this_process
    from tools.bench.networks import PLAIN

    network = (TRIAL if trial else FULL).network(PLAIN)
    model, (x, y) = network.build(ACTIVATIONS[activation], jit_compile=False), network.samples()
    for _ in range(5):
        model.train_on_batch(x, y)
    emit(Peak(peak_of_this_process()))


if __name__ == "__main__":
    main()
