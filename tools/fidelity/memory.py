"""Peak memory of calibrating beside that of one pass of the original, each in a process of its own:
`python -m tools.fidelity.memory calibrate 2000 10` (Linux)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import click

from tools.common.peak import peak_memory
from tools.common.processes import emit, json_lines, quiet
from tools.common.records import decode
from tools.fidelity.effort import Effort


@dataclass(frozen=True)
class CalibrationMemory:
    """Memory of a process of its own.

    Attributes:
        work: "predict" (all samples at once through the original), "calibrate", or "spilled"
            (calibrate under a limit).
        samples: Number of samples.
        bytes: Most memory over what the process took before.
        weights: Digest of the weights afterwards.
    """

    work: str
    samples: int
    bytes: float
    weights: str


def calibration_memory(effort: Effort) -> Iterator[CalibrationMemory]:
    """Measure each in a process of its own."""
    for work, samples in effort.memory:
        (line,) = json_lines("tools.fidelity.memory", work, str(samples), str(effort.memory_layers))
        yield decode(line, (CalibrationMemory,))


@click.command()
@click.argument("work", type=click.Choice(["predict", "calibrate", "spilled"]))
@click.argument("samples", type=int)
@click.argument("layers", type=int)
def main(work: str, samples: int, layers: int) -> None:
    """Do WORK with SAMPLES images of 16 × 16 pixels and LAYERS convolutions; print its memory.

    predict: all at once through the original; calibrate: refit the converted network; spilled:
    calibrate with a limit of 700 MB.
    """
    quiet()
    import keras
    import numpy as np

    import keras_prelu as kp
    from tools.fidelity.cost import chain

    model = chain(layers)
    x = np.random.default_rng(0).normal(size=(samples, 16, 16, 3)).astype("float32")
    # This imports, compiles and allocates what is needed once.
    kp.calibrate(kp.convert(model, rescale="none"), model, x[:128])
    model(keras.ops.convert_to_tensor(x[:128]))
    converted = kp.convert(model, rescale="none")
    limit = 7e8 if work == "spilled" else float("inf")

    def predict() -> object:
        return model(keras.ops.convert_to_tensor(x))

    def calibrate() -> object:
        return kp.calibrate(converted, model, x, batch_size=128, memory_limit=limit)

    _, peak = peak_memory(predict if work == "predict" else calibrate)
    weights = b"".join(weights.tobytes() for weights in converted.get_weights())
    emit(
        CalibrationMemory(
            work=work, samples=samples, bytes=peak, weights=hashlib.sha256(weights).hexdigest()
        )
    )


if __name__ == "__main__":
    main()
