"""How much is measured, in full and in a trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Sizes and repetitions.

    Attributes:
        shapes: Shapes of the activation alone.
        compiled_shapes: Those that torch.compile runs as well, which takes seconds for each.
        rounds: Rounds of the activation alone.
        sample_seconds: Seconds of one timed sample of the activation, filled with runs.
        working_set: Bytes of the inputs that runs take in turn, more than the device's cache.
        network: A name of `variants.NETWORKS`, for all but the activation alone.
        size: Height and width of the training step's images.
        batch: Their number.
        classes: Their classes.
        step_rounds: Rounds of a network.
        step_seconds: Seconds after which no further round starts.
        train: Training images of the job.
        validation: Its validation images.
        calibration: Its calibration images.
        job_size: Height and width of its images.
        job_batch: Its batch size.
        epochs: Epochs of the job's first training, and of each fine-tuning.
        resumed: Training and validation images of the fine-tuning that is killed and resumed.
        calibration_seconds: Seconds after which a calibration is given up.
        demo: Options of the demonstration.
    """

    shapes: tuple[tuple[int, ...], ...]
    compiled_shapes: tuple[tuple[int, ...], ...]
    rounds: int
    sample_seconds: float
    working_set: float
    network: str
    size: int
    batch: int
    classes: int
    step_rounds: int
    step_seconds: float
    train: int
    validation: int
    calibration: int
    job_size: int
    job_batch: int
    epochs: int
    resumed: int
    calibration_seconds: float
    demo: tuple[str, ...]


FULL = Effort(
    shapes=((64, 56, 56, 256), (256, 28, 28, 512), (32, 56, 56, 64)),
    compiled_shapes=((64, 56, 56, 256),),
    rounds=25,
    sample_seconds=4e-3,
    working_set=4e8,
    network="ResNet50",
    size=224,
    batch=128,
    classes=1000,
    step_rounds=20,
    step_seconds=4.0,
    train=2560,
    validation=512,
    calibration=512,
    job_size=224,
    job_batch=128,
    epochs=3,
    resumed=384,
    calibration_seconds=100.0,
    demo=(),
)

TRIAL = Effort(
    shapes=((2, 8, 8, 16),),
    compiled_shapes=(),
    rounds=2,
    sample_seconds=0.0,
    working_set=0.0,
    network="a small network",
    size=32,
    batch=2,
    classes=10,
    step_rounds=2,
    step_seconds=0.0,
    train=16,
    validation=8,
    calibration=8,
    job_size=32,
    job_batch=8,
    epochs=2,
    resumed=16,
    calibration_seconds=60.0,
    demo=("--runs=1", "--epochs=1"),
)
