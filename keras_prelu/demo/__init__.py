"""The demonstration: a network that goes on learning, and a healthy one on its old data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keras_prelu.demo.going_on import GoingOn, run_going_on
from keras_prelu.demo.healthy import Healthy, digits_network, run_healthy

__all__ = ["Demo", "digits_network", "run_demo"]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The results of the demonstration.

    Attributes:
        going_on: `GoingOn`. Networks that go on learning new tasks.
        healthy: `Healthy`. A network that is fine-tuned on the data that it was trained on.
    """

    going_on: GoingOn
    healthy: Healthy


def run_demo(
    seeds: Sequence[int] = (0, 1, 2),
    *,
    epochs: int = 16,
    on_progress: Callable[[str], None] | None = None,
) -> Demo:
    """Let networks go on learning, once for each seed; then fine-tune a healthy one.

    Args:
        seeds: Sequence of int. Seeds of initialization, tasks and data order. The healthy network
            has the first of them. Defaults to (0, 1, 2).
        epochs: Int. Epochs of the healthy network's training; its fine-tuning takes half as many,
            and each task of the others five eighths. Defaults to 16.
        on_progress: Function that is called with the name of each stage as it begins. Defaults to
            None.
    """
    report = on_progress or (lambda stage: None)
    going_on = run_going_on(seeds, epochs=max(1, 5 * epochs // 8), on_progress=report)
    return Demo(going_on=going_on, healthy=run_healthy(seeds[0], epochs, on_progress=report))
